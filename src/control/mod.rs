//! The control socket of a data directory.
//!
//! Only the holder of a directory can copy it as of one moment. So a server listens on a Unix
//! socket in its data directory, and `storage backup` asks there. The socket's permissions admit
//! the server's own user and root. A server that waits for the directory registers there as well.
//!
//! A connection carries one request, a line of JSON, and then lines of JSON up to a final one that
//! reports success or failure. `docs/storage.md` describes them.

mod client;
mod messages;
mod server;
mod successor;
mod takeover;

pub(crate) use self::{
    client::{ControlError, backup},
    server::{Control, Successors, serve},
    successor::Registration,
    takeover::Takeover,
};

/// The socket in the data directory.
const SOCKET: &str = "control.sock";
