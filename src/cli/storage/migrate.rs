//! `storage migrate`

use std::{io::Write, path::PathBuf};

use clap::{Args, ValueEnum as _};

use super::{
    copy::{PersistentMode, never_cancel, print_copied},
    data_dir::DataDir,
    error::StorageCommandError,
};
use crate::{cli::error::CliError, storage::tools};

/// Copy everything to another directory in the layout of a mode.
///
/// Names, offsets, ids and producers stay the same. Needs a stopped server. Changing storage.mode
/// does not require it: the modes on disk read each other's directories, and existing data keeps
/// its layout. This command rewrites everything and leaves out unused space.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// The directory to create. It must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The layout to write.
    #[arg(long, value_name = "MODE")]
    mode: PersistentMode,
}

pub(super) fn run(args: &MigrateArgs, source: &DataDir, out: &mut dyn Write) -> Result<(), CliError> {
    let to = source.target(&args.to)?;
    let lock = source.lock()?;
    let report = tools::migrate(&lock, &to, args.mode.into(), &mut never_cancel).map_err(|source| {
        let (command, to) = ("migration", to.clone());
        StorageCommandError::Copy { command, to, source }
    })?;
    print_copied(&report, &to, out)?;
    let mode = args.mode.to_possible_value();
    let mode = mode.as_ref().map_or("", |mode| mode.get_name());
    writeln!(
        out,
        "next       before the server starts again, set storage.mode to {mode} and storage.data_dir to {}",
        to.display()
    )?;
    Ok(())
}
