//! Appends joined into the content of one chunk, without the frames that keep them apart.

use bytes::{Bytes, BytesMut};

use super::{
    chunk::Chunk,
    text::{self, Seam},
};
use crate::{
    protocol::{Framing, Kind, frame},
    storage::{Position, StreamRecord},
};

/// The content of several appends.
#[derive(Debug, Default)]
pub(super) struct Joined {
    pub content: Bytes,
    /// The length of the stored run that holds the content.
    pub stored: usize,
    /// Of text: the end of the last append that ends with a whole character.
    pub whole: End,
}

/// The end of an append in a stored run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    /// Bytes of the run before it.
    pub stored: usize,
    /// Bytes of content before it.
    pub content: usize,
}

impl Joined {
    /// A chunk of everything, which begins at `start`.
    pub fn into_chunk(self, kind: Kind, record: &StreamRecord, start: Position) -> Chunk {
        let end = start + self.stored as u64;
        let chunk = Chunk::new(kind, record.offset(start), record.offset(end), self.content);
        chunk.with_boundary(start + self.whole.stored as u64, self.whole.content)
    }
}

/// Joins appends, each with the number of bytes that it occupies in the stored run. A single one
/// is not copied.
pub(super) fn join(kind: Kind, mut appends: impl Iterator<Item = (usize, Bytes)>, capacity: usize) -> Joined {
    let (Some((stored, first)), second) = (appends.next(), appends.next()) else {
        return Joined::default();
    };
    let mut seams = Seams::default();
    seams.end(kind, &first, stored);
    let Some(second) = second else {
        return Joined {
            content: first,
            stored,
            whole: seams.whole,
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

/// Joins the whole appends at the beginning of a stored run.
pub(super) fn unframe(kind: Kind, run: &Bytes, framing: Framing) -> Joined {
    let mut frames = frame::frames(run, framing);
    let appends = std::iter::from_fn(|| {
        let before = frames.at();
        let append = frames.next()?;
        Some((frames.at() - before, run.slice(append)))
    });
    let mut joined = join(kind, appends, run.len());
    if 2 * joined.content.len() < run.len() {
        // A slice would keep all of the run in memory.
        joined.content = Bytes::copy_from_slice(&joined.content);
    }
    joined
}

/// A chunk of everything that was appended between two tails; `None` if the bytes are not that.
pub(super) fn stored_chunk(kind: Kind, record: &StreamRecord, start: Position, run: &Bytes) -> Option<Chunk> {
    let joined = match record.framing.is_framed() {
        true => unframe(kind, run, record.framing),
        false => join(kind, std::iter::once((run.len(), run.clone())), 0),
    };
    (joined.stored == run.len()).then(|| joined.into_chunk(kind, record, start))
}

/// The ends of appends for which it is open whether they split a character.
#[derive(Debug, Default)]
struct Seams {
    open: Vec<End>,
    whole: End,
}

impl Seams {
    /// Records that an append ends where `content` does.
    fn end(&mut self, kind: Kind, content: &[u8], stored: usize) {
        if kind != Kind::Text {
            return;
        }
        self.open.push(End {
            stored,
            content: content.len(),
        });
        let mut whole = self.whole;
        self.open.retain(|end| match text::seam(content, end.content) {
            Seam::Whole => {
                whole = whole.max(*end);
                false
            }
            Seam::Split => false,
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
        let Joined { content, stored, whole } = join(Kind::Text, appends, 0);
        (content.to_vec(), stored, (whole.stored, whole.content))
    }

    #[test]
    fn appends_are_joined_and_the_last_whole_one_is_known() {
        assert_eq!(joined(&[]), (vec![], 0, (0, 0)));
        assert_eq!(joined(&[b"ab"]), (b"ab".to_vec(), 3, (3, 2)));
        assert_eq!(joined(&[b"ab", b"c"]), (b"abc".to_vec(), 5, (5, 3)));
        assert_eq!(
            joined(&[b"ab", b"\xc3"]).2,
            (3, 2),
            "the rest of the character is missing"
        );
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
