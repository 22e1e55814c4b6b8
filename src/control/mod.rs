//! The control socket of a data directory.
//!
//! Only the holder of a directory can copy it as of one moment. So a server listens on a Unix
//! socket in its data directory, and `storage backup` asks there. The socket's permissions admit
//! the server's own user and root.
//!
//! A connection carries one request, a line of JSON, and then lines of JSON up to a final one that
//! reports success or failure. `docs/storage.md` describes them.

mod client;
mod server;
mod socket;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    client::{ControlError, backup},
    server::{Control, serve},
};

/// The longest line of either side: a path and its key.
const MAX_LINE_BYTES: u64 = 16 * 1024;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    /// Copy the store to a directory, given by its absolute path.
    Backup { to: PathBuf },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// The state of the copy. Sent every second.
    Progress { streams: u64, bytes: u64 },
    /// The copy is complete. Final.
    Done { streams: u64, bytes: u64 },
    /// The copy failed. Final.
    Error(String),
}
