//! The protocol's vocabulary as validated types, without I/O.
//!
//! Sources: `PROTOCOL.md` of durable-streams/durable-streams; section numbers
//! in this module's documentation are of that text.

pub mod name;

pub use name::{NameError, StreamName};
