//! The protocol's vocabulary as validated types, without I/O.
//!
//! Section numbers refer to `PROTOCOL.md` of durable-streams/durable-streams.

pub mod content_type;
pub mod cursor;
pub mod frame;
pub mod headers;
pub mod history;
pub mod json;
pub mod lifetime;
pub mod name;
pub mod offset;
pub mod producer;

pub use content_type::{ContentType, Kind};
pub use frame::Framing;
pub use history::History;
pub use lifetime::{Lifetime, RetentionPolicy};
pub use name::{NameError, StreamName};
pub use offset::{Offset, ReadFrom};
pub use producer::ProducerStamp;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// A part of a request with an invalid value. Answered with a 400 that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct BadInput {
    /// The header, the query parameter, or `body`.
    pub name: &'static str,
    /// The reason, for the client; completes a sentence that begins with the name.
    pub reason: String,
}

impl BadInput {
    /// The part `name` is wrong because of `reason`.
    pub fn new(name: &'static str, reason: impl Into<String>) -> Self {
        Self {
            name,
            reason: reason.into(),
        }
    }
}
