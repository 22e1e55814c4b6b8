//! `storage migrate`

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{PersistentMode, Place, copied, failed, on};
use crate::{cli::error::CliError, storage::tools};

/// Copy everything to another directory in the layout of a mode.
///
/// Names, offsets, ids and producers stay as they are. Needs a stopped server. To change
/// storage.mode alone nothing has to be copied: the modes on disk read each other's
/// directories, and what is there stays in the layout that it was written in. This rewrites
/// all of it, and leaves out the space that removed streams have left.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// The directory to make; it must not be there yet, or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The layout to write.
    #[arg(long, value_name = "MODE")]
    mode: PersistentMode,
}

pub(super) fn run(args: &MigrateArgs, place: &Place, out: &mut dyn Write) -> Result<(), CliError> {
    let to = place.target(&args.to)?;
    let lock = place.lock()?;
    let report =
        tools::migrate(&lock, &to, args.mode.into(), &mut on).map_err(|error| failed("the migration", &to, &error))?;
    copied(&report, &to, out)?;
    let mode = clap::ValueEnum::to_possible_value(&args.mode);
    let mode = mode.as_ref().map_or("", |mode| mode.get_name());
    writeln!(
        out,
        "next       before the server starts again, set storage.mode to {mode} and storage.data_dir to {}",
        to.display()
    )?;
    Ok(())
}
