//! Parts of a stream's content, shared by everyone who reads them.

use std::{
    any::Any,
    hash::{DefaultHasher, Hash, Hasher},
    sync::OnceLock,
};

use bytes::Bytes;

use super::text;
use crate::{
    protocol::{Kind, Offset, json},
    storage::Position,
};

/// The last bytes of a chunk that its digest is of.
const MAX_DIGESTED: usize = 4096;

/// Content of a stream between two offsets, with the forms that readers are sent.
///
/// The first reader that needs a form makes it; all others share it.
#[derive(Debug)]
pub struct Chunk {
    /// Where it begins.
    pub start: Offset,
    /// Where it ends, and where the next one begins.
    pub end: Offset,
    kind: Kind,
    content: Bytes,
    split: Option<Boundary>,
    array: OnceLock<Bytes>,
    derived: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// The last content of a stream that readers have, with a digest of its last bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastRead {
    pub start: Position,
    pub end: Position,
    pub form: Form,
    digest: u64,
}

/// The bytes whose digest a [`LastRead`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The content of chunks, which readers of this server were given.
    Content,
    /// The bytes as they are stored, which readers of another server were given.
    Stored,
}

impl LastRead {
    pub fn of(chunk: &Chunk) -> Self {
        Self {
            start: chunk.start.position,
            end: chunk.end.position,
            form: Form::Content,
            digest: digest(chunk.last_bytes()),
        }
    }

    /// The stored bytes before `end`.
    pub fn of_stored(bytes: &[u8], end: Position) -> Self {
        Self {
            start: end.saturating_sub(bytes.len() as u64),
            end,
            form: Form::Stored,
            digest: digest(last(bytes)),
        }
    }

    /// Whether the same was read again, whose last bytes these are.
    pub fn ends_with(&self, bytes: &[u8]) -> bool {
        digest(last(bytes)) == self.digest
    }
}

/// As many of the last bytes as tell content from other content.
fn last(content: &[u8]) -> &[u8] {
    content.last_chunk::<MAX_DIGESTED>().map_or(content, |last| last)
}

fn digest(last_bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    last_bytes.hash(&mut hasher);
    hasher.finish()
}

/// A place inside a chunk where its content can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boundary {
    pub position: Position,
    /// The length of the content before it.
    pub len: usize,
}

impl Chunk {
    /// Content between two offsets: messages as they are stored, other bytes as they were
    /// appended.
    #[must_use]
    pub fn new(kind: Kind, start: Offset, end: Offset, content: Bytes) -> Self {
        let splits_character = kind == Kind::Text && text::ends_inside_character(&content);
        let beginning = Boundary {
            position: start.position,
            len: 0,
        };
        Self {
            start,
            end,
            kind,
            content,
            split: splits_character.then_some(beginning),
            array: OnceLock::new(),
            derived: OnceLock::new(),
        }
    }

    /// The same chunk, with the last boundary before the character that its end splits, if it
    /// splits one.
    #[must_use]
    pub(super) fn with_boundary(mut self, position: Position, len: usize) -> Self {
        if self.split.is_some() {
            self.split = Some(Boundary { position, len });
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

    /// The content as a reader is given it: messages as an array, other bytes as they are.
    #[must_use]
    pub fn body(&self) -> Bytes {
        match self.kind {
            Kind::Json => self.array.get_or_init(|| json::array(&self.content)).clone(),
            Kind::Text | Kind::Binary => self.content.clone(),
        }
    }

    /// If the content ends inside a character: the last boundary between appends before that
    /// character, or the chunk's beginning.
    pub(super) fn split_character(&self) -> Option<Boundary> {
        self.split
    }

    /// A value that a caller derives from the chunk, such as an encoding of it, kept with the
    /// chunk for all its readers. `None` if a value of another type is kept.
    pub fn derived<T: Default + Send + Sync + 'static>(&self) -> Option<&T> {
        self.derived.get_or_init(|| Box::<T>::default()).downcast_ref()
    }

    /// As many of the last bytes as tell the content from other content.
    pub(super) fn last_bytes(&self) -> &[u8] {
        last(&self.content)
    }

    /// The memory that the chunk may occupy, with its forms.
    #[must_use]
    pub fn weight(&self) -> u64 {
        // The content, an array of it, and two derived forms, one of which may be base64.
        5 * self.content.len() as u64 + 400
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_value_is_shared_and_of_one_type() {
        let at = |position| Offset {
            incarnation: 1,
            position,
        };
        let chunk = Chunk::new(Kind::Text, at(0), at(1), Bytes::from_static(b"x"));
        let first: &OnceLock<u8> = chunk.derived().unwrap();
        assert_eq!(first.set(7), Ok(()));
        assert_eq!(chunk.derived::<OnceLock<u8>>().unwrap().get(), Some(&7));
        assert!(chunk.derived::<String>().is_none());
    }
}
