//! Runs of a stream's bytes, shared by everybody who reads them.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::{
    protocol::{Kind, cursor::Cursor, json},
    storage::Position,
};

/// Bytes of a stream from one position to another, with the forms that readers are sent.
///
/// Each form is made once, by the first reader who needs it, and is shared from then on.
#[derive(Debug)]
pub struct Chunk {
    /// The position of the first byte.
    pub start: Position,
    /// The position behind the last one.
    pub end: Position,
    kind: Kind,
    stored: Bytes,
    body: OnceLock<Bytes>,
    events: [OnceLock<Events>; 4],
}

/// Bytes as live events.
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
    /// Bytes as they are stored, from `start` on.
    #[must_use]
    pub fn new(kind: Kind, start: Position, stored: Bytes) -> Self {
        let end = start + stored.len() as u64;
        Self {
            start,
            end,
            kind,
            stored,
            body: OnceLock::new(),
            events: Default::default(),
        }
    }

    /// As they are stored.
    #[must_use]
    pub fn stored(&self) -> &Bytes {
        &self.stored
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
            Kind::Json => self.body.get_or_init(|| json::array(&self.stored)).clone(),
            Kind::Text | Kind::Binary => self.stored.clone(),
        }
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
        5 * self.stored.len() as u64 + 400
    }
}
