//! The protocol's vocabulary as validated types, without I/O.
//!
//! Sources: `PROTOCOL.md` of durable-streams/durable-streams; section numbers
//! in this module's documentation are of that text.

pub mod content_type;
pub mod cursor;
pub mod frame;
pub mod headers;
pub mod json;
pub mod lifetime;
pub mod name;
pub mod offset;
pub mod past;
pub mod producer;

pub use content_type::{ContentType, Kind};
pub use frame::Framing;
pub use lifetime::{Lifetime, RetentionPolicy};
pub use name::{NameError, StreamName};
pub use offset::{Offset, ReadFrom};
pub use past::Past;
pub use producer::ProducerStamp;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// A header or query parameter that does not say what it may: always a 400 that names it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct BadInput {
    /// The header, the query parameter, or `body`.
    pub name: &'static str,
    /// What is wrong with it, for the client.
    pub reason: String,
}

impl BadInput {
    /// Names `name` as wrong because of `reason`.
    pub fn new(name: &'static str, reason: impl Into<String>) -> Self {
        Self {
            name,
            reason: reason.into(),
        }
    }
}
