//! Errors of the `storage` commands.

use std::{io, path::PathBuf};

use crate::{
    control::ControlError,
    storage::{LockError, StorageError},
};

/// A `storage` command failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageCommandError {
    /// The configured store is in PostgreSQL.
    #[error(
        "storage.mode is postgres: streams are not kept in a directory. Back the database up with pg_dump or with the \
         backups of its provider (--data-dir names a directory regardless of the configuration)"
    )]
    InPostgres,
    /// The configuration names no database.
    #[error(
        "--mode postgres copies a directory to the configured database: set storage.mode to postgres and storage.url \
         to its URL, and name the directory with --data-dir"
    )]
    NoDatabase,
    /// The source of a copy to the database is missing.
    #[error("--mode postgres copies a directory to the configured database: name the directory with --data-dir")]
    NoSource,
    /// A copy to the database has a directory as its target.
    #[error("--to names a directory, and --mode postgres copies to the database of storage.url: leave --to out")]
    TwoTargets,
    /// The target of a copy is missing.
    #[error("--to is missing: it names the directory to create")]
    NoTarget,
    /// A database cannot be used.
    #[error("{0}")]
    Database(#[source] StorageError),
    /// The configured store has no directory.
    #[error(
        "storage.mode is memory: streams are not kept in a directory, so there is nothing to check, repair, migrate or \
         back up (--data-dir names a directory regardless of the configuration)"
    )]
    InMemory,
    /// The data directory does not exist.
    #[error("the data directory {} does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The directory is not a data directory.
    #[error("{} holds no streams: it has neither a journal nor an index.redb", .0.display())]
    NoStore(PathBuf),
    /// The directory belongs to another user.
    #[error("{}: {source}; run this as the server's user", path.display())]
    NoAccess {
        /// The directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The directory could not be locked.
    #[error("{}{}", .0, lock_advice(.0))]
    Lock(#[source] LockError),
    /// A copy would be inside the directory that is copied.
    #[error("--to {} is inside the data directory {}: name a place outside of it", target.display(), dir.display())]
    TargetInside {
        /// The path of the copy.
        target: PathBuf,
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory could not be checked.
    #[error("{} could not be checked: {source}", dir.display())]
    Check {
        /// The directory.
        dir: PathBuf,
        /// The error.
        source: StorageError,
    },
    /// A copy was not made.
    #[error("the {command} to {to} failed: {source}")]
    Copy {
        /// "backup", "migration" or "repair".
        command: &'static str,
        /// The path of the copy, or the database.
        to: String,
        /// The error.
        source: StorageError,
    },
    /// The holder of the directory did not make a backup.
    #[error("{}", ask_failure(held, to, source))]
    Ask {
        /// The holder.
        held: LockError,
        /// The path of the backup.
        to: PathBuf,
        /// The error.
        source: ControlError,
    },
}

fn lock_advice(error: &LockError) -> &'static str {
    match error {
        LockError::Held { .. } => {
            "; stop that server first, or make a copy with `storage backup --to DIR` and work on the copy"
        }
        LockError::Unusable { .. } | LockError::OtherUser { .. } => "; run this as the server's user",
    }
}

fn ask_failure(held: &LockError, to: &std::path::Path, error: &ControlError) -> String {
    let to = to.display();
    match error {
        ControlError::Unreachable(_) => format!(
            "{held}; {error}. If the holder is another storage command, wait for it to finish. If it is a server, its \
             log says why it has no control socket; stop the server to copy without it"
        ),
        ControlError::Disconnected(_) => format!("{held}; {error}. There is no complete backup in {to}"),
        ControlError::Encode(_) | ControlError::Refused(_) => format!("the backup to {to} failed: {error}"),
    }
}
