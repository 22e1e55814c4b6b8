//! Asking the server that holds a data directory.
//!
//! The directory has one holder, and only the holder can copy it as it is at one moment. So a
//! server listens on a Unix socket in its directory, and `storage backup` asks there. Who may
//! ask is who may write to the socket's file: the server's own user, and root.
//!
//! A conversation is one request, a line of JSON, and then lines of JSON until the last one
//! says that it is done or why not. `docs/storage.md` has the lines.

mod ask;
mod serve;
mod socket;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    ask::{AskError, backup},
    serve::{Control, serve},
};

/// The longest line that either side reads: a path and its name.
const MAX_LINE: u64 = 16 * 1024;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Request {
    /// Copy the store to a directory, by its absolute path.
    Backup { to: PathBuf },
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// How far it is. Comes at least every few seconds.
    Progress { streams: u64, bytes: u64 },
    /// It is complete. Nothing follows.
    Done { streams: u64, bytes: u64 },
    /// It is not. Nothing follows.
    Error(String),
}
