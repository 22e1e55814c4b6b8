//! Runs of a stream's bytes, shared by everybody who reads them.

use std::sync::OnceLock;

use bytes::{Bytes, BytesMut};

use super::text::{self, Seam};
use crate::{
    protocol::{Framing, Kind, Offset, cursor::Cursor, frame, json},
    storage::Position,
};

/// Content of a stream from one offset to another, with the forms that readers are sent.
///
/// Each form is made once, by the first reader who needs it, and is shared from then on.
#[derive(Debug)]
pub struct Chunk {
    /// Where it begins.
    pub start: Offset,
    /// Where it ends, and where the next one begins.
    pub end: Offset,
    kind: Kind,
    content: Bytes,
    /// Of text that ends inside of a character: the last place before where an append ended that
    /// does not, and how much of the content comes before that.
    torn_after: Option<(Position, usize)>,
    body: OnceLock<Bytes>,
    events: [OnceLock<Events>; 4],
}

/// Content as live events.
#[derive(Debug, Clone)]
pub struct Events {
    /// All of it.
    pub bytes: Bytes,
    /// How many of the bytes are the same for every reader.
    pub data: usize,
    /// The cursor that the rest has.
    pub cursor: Cursor,
}

impl Chunk {
    /// Content between two offsets: messages as they are stored, other bytes as they were
    /// appended.
    #[must_use]
    pub fn new(kind: Kind, start: Offset, end: Offset, content: Bytes) -> Self {
        let torn = kind == Kind::Text && text::ends_torn(&content);
        Self {
            start,
            end,
            kind,
            content,
            torn_after: torn.then_some((start.position, 0)),
            body: OnceLock::new(),
            events: Default::default(),
        }
    }

    /// The same, of text that could end sooner without ending inside of a character.
    #[must_use]
    pub(super) fn torn_after(mut self, position: Position, len: usize) -> Self {
        if self.torn_after.is_some() {
            self.torn_after = Some((position, len));
        }
        self
    }

    /// Messages as they are stored, each followed by `,` and a line feed; other bytes as they
    /// were appended.
    #[must_use]
    pub fn stored(&self) -> &Bytes {
        &self.content
    }

    /// How the stream is treated.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// As the body of an answer: messages as an array, other bytes as they are.
    #[must_use]
    pub fn body(&self) -> Bytes {
        match self.kind {
            Kind::Json => self.body.get_or_init(|| json::array(&self.content)).clone(),
            Kind::Text | Kind::Binary => self.content.clone(),
        }
    }

    /// Where text that ends inside of a character could end instead, if it does: a position and
    /// how many bytes of the content come before it. Both are the beginning's where there is no
    /// other place.
    #[must_use]
    pub fn torn(&self) -> Option<(Position, usize)> {
        self.torn_after
    }

    /// As live events; made by `encode` the first time. There are forms for readers who have
    /// everything with this chunk and for those who have not, and of each one for readers who
    /// were sent the CR of a CRLF that ends in this chunk.
    pub fn events(&self, up_to_date: bool, after_cr: bool, encode: impl FnOnce() -> Events) -> &Events {
        let [behind, caught_up, behind_after_cr, caught_up_after_cr] = &self.events;
        let form = match (up_to_date, after_cr) {
            (false, false) => behind,
            (true, false) => caught_up,
            (false, true) => behind_after_cr,
            (true, true) => caught_up_after_cr,
        };
        form.get_or_init(encode)
    }

    /// How much memory it may take, with its forms.
    #[must_use]
    pub fn weight(&self) -> u64 {
        // Stored, as a body, and as two forms of events, one of which may be base64.
        5 * self.content.len() as u64 + 400
    }
}

/// The content of several appends, without the frames that keep them apart.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub(super) content: Bytes,
    /// How many bytes of the stored run that is.
    pub(super) stored: usize,
    /// Of text: where the last append ended that does not end inside of a character, in the run
    /// and in the content.
    pub(super) whole: (usize, usize),
}

/// Joins appends, each with how many bytes of the stored run it takes. A single one is not copied.
pub(super) fn join(kind: Kind, mut appends: impl Iterator<Item = (usize, Bytes)>, capacity: usize) -> Joined {
    let (Some((stored, first)), second) = (appends.next(), appends.next()) else {
        return Joined::default();
    };
    let mut seams = Seams::default();
    seams.end(kind, &first, stored);
    let Some(second) = second else {
        let whole = seams.whole;
        return Joined {
            content: first,
            stored,
            whole,
        };
    };
    let mut content = BytesMut::with_capacity(capacity);
    let mut used = stored;
    content.extend_from_slice(&first);
    for (stored, append) in std::iter::once(second).chain(appends) {
        used += stored;
        content.extend_from_slice(&append);
        seams.end(kind, &content, used);
    }
    Joined {
        content: content.freeze(),
        stored: used,
        whole: seams.whole,
    }
}

/// The whole appends at the beginning of a stored run.
pub(super) fn unframe(kind: Kind, run: &Bytes, framing: Framing) -> Joined {
    let mut frames = frame::frames(run, framing);
    let appends = std::iter::from_fn(|| {
        let before = frames.at();
        let append = frames.next()?;
        Some((frames.at() - before, run.slice(append)))
    });
    let mut joined = join(kind, appends, run.len());
    if 2 * joined.content.len() < run.len() {
        // A small piece must not keep all of what was read in memory.
        joined.content = Bytes::copy_from_slice(&joined.content);
    }
    joined
}

/// The ends of appends, as long as it is not known whether a character goes on after them.
#[derive(Debug, Default)]
struct Seams {
    open: Vec<(usize, usize)>,
    whole: (usize, usize),
}

impl Seams {
    /// An append ended where `content` does.
    fn end(&mut self, kind: Kind, content: &[u8], stored: usize) {
        if kind != Kind::Text {
            return;
        }
        self.open.push((stored, content.len()));
        let mut whole = self.whole;
        self.open.retain(|end| match text::seam(content, end.1) {
            Seam::Whole => {
                whole = whole.max(*end);
                false
            }
            Seam::Torn => false,
            Seam::Open => true,
        });
        self.whole = whole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(appends: &[&'static [u8]]) -> (Vec<u8>, usize, (usize, usize)) {
        let appends = appends
            .iter()
            .map(|append| (append.len() + 1, Bytes::from_static(append)));
        let joined = join(Kind::Text, appends, 0);
        (joined.content.to_vec(), joined.stored, joined.whole)
    }

    #[test]
    fn appends_are_joined_and_the_last_whole_one_is_known() {
        assert_eq!(joined(&[]), (vec![], 0, (0, 0)));
        assert_eq!(joined(&[b"ab"]), (b"ab".to_vec(), 3, (3, 2)));
        assert_eq!(joined(&[b"ab", b"c"]), (b"abc".to_vec(), 5, (5, 3)));
        assert_eq!(joined(&[b"ab", b"\xc3"]).2, (3, 2), "waits for the rest of a character");
        assert_eq!(joined(&[b"ab", b"\xc3", b"\xa9"]).2, (7, 4));
        assert_eq!(joined(&[b"\xf0", b"\x9f", b"\x98"]).2, (0, 0));
        assert_eq!(joined(&[b"\xf0", b"\x9f", b"\x98", b"\x80"]).2, (8, 4));
        // Invalid UTF-8 is not held back.
        assert_eq!(joined(&[b"\xe9", b"a\xe9"]).2, (2, 1));
    }

    #[test]
    fn a_single_append_is_not_copied() {
        let run = Bytes::from_static(b"\x05hello\x09wor");
        let joined = unframe(Kind::Binary, &run, Framing::NEW);
        assert_eq!((joined.content.as_ref(), joined.stored), (&b"hello"[..], 6));
        assert_eq!(joined.content.as_ptr(), run[1..].as_ptr());
    }
}
