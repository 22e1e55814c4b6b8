//! The handover of a data directory to the next server, without a failed request on either.
//!
//! A server that finds its directory held registers with the holder over the control socket
//! (`control/`). When the first request for a stream reaches it, or when the holder begins to stop,
//! the holder lets go:
//!
//! 1. New requests wait; those that have begun are finished (`http/phase.rs`).
//! 2. What is queued is committed, the store is closed and the lock released
//!    (`storage/locked.rs`).
//! 3. The successor takes the lock, opens the store, and listens on [`SOCKET`] in the directory.
//! 4. The former holder forwards to [`SOCKET`] whatever still reaches it: the requests that waited,
//!    new ones, and live reads from where they are. A catch-up read under way gets its remaining
//!    bytes from there as well.
//!
//! The former holder watches the lock. When nobody holds it, because the successor has ended or cannot
//! open the store, the former holder takes it again and serves as before (`startup/handover.rs`).
//!
//! Only the holder of the lock listens on the socket, and the former holder does not know which
//! server that is. So a successor may be replaced or restarted meanwhile.
//!
//! A connection to the socket carries one line of JSON, an [`Opening`]. After a request's line
//! follows the request itself, in HTTP/1.1; after the others' an [`Answer`] in a line of its own.

mod connect;
mod messages;

pub(crate) use connect::{connect, connect_blocking};
pub(crate) use messages::{Answer, Client, Opening, Tls, VERSION};

/// The socket of the holder.
pub(crate) const SOCKET: &str = "handover.sock";
