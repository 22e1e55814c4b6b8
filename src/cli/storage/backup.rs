//! `storage backup`

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{
    copy::{never_cancel, print_copied},
    data_dir::DataDir,
    error::StorageCommandError,
};
use crate::{
    cli::error::CliError,
    clock::Clock,
    control,
    storage::{LockError, lock, tools},
};

/// Copy everything to another directory, which a server can start on; also while one runs.
///
/// A running server copies itself, as of this moment, and keeps serving. It is asked through the
/// file control.sock in its data directory, so run this on the same machine, as the server's user,
/// and where the server sees the same path: in the same container (docker exec, kamal app exec
/// --reuse). Without a server, this command copies the directory.
///
/// An incomplete copy is called DIR.partial. Exit 0 only when the copy is complete.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The directory to create. It must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn run(args: &BackupArgs, source: &DataDir, out: &mut dyn Write) -> Result<(), CliError> {
    let to = source.target(&args.to)?;
    let report = match lock::acquire(&source.path, &Clock::system()) {
        Ok(lock) => tools::migrate(&lock, &to, source.layout, &mut never_cancel).map_err(|source| {
            let (command, to) = ("backup", to.display().to_string());
            StorageCommandError::Copy { command, to, source }
        })?,
        Err(held @ LockError::Held { .. }) => control::backup(&source.path, &to).map_err(|source| {
            let to = to.clone();
            StorageCommandError::Ask { held, to, source }
        })?,
        Err(error) => return Err(StorageCommandError::Lock(error).into()),
    };
    print_copied(&report, &to.display(), out)
}
