//! The messages of the control socket.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Request {
    /// Copy the store to a directory, given by its absolute path.
    Backup { to: PathBuf },
    /// Hand the directory over when the client sends another line, or when the server stops. The
    /// answer comes when the directory is free.
    Successor { version: u32 },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// The state of the copy. Sent every second.
    Progress { streams: u64, bytes: u64 },
    /// The server hands the directory over when it is asked to.
    Registered,
    /// The directory is free. Final.
    Released,
    /// The copy is complete. Final.
    Done { streams: u64, bytes: u64 },
    /// The copy failed. Final.
    Error(String),
}
