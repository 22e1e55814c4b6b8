//! `storage repair`

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{
    copy::{PersistentMode, never_cancel, print_copied},
    data_dir::DataDir,
    error::StorageCommandError,
};
use crate::{cli::error::CliError, storage::tools};

/// Copy what can be read of a damaged directory to another one, and list what cannot.
///
/// The damaged directory is not changed. Needs a stopped server.
#[derive(Debug, Args)]
pub(super) struct RepairArgs {
    /// The directory to create. It must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The layout to write. Default: that of the configuration's storage.mode.
    #[arg(long, value_name = "MODE")]
    mode: Option<PersistentMode>,
}

pub(super) fn run(args: &RepairArgs, source: &DataDir, out: &mut dyn Write) -> Result<(), CliError> {
    let to = source.target(&args.to)?;
    let layout = args.mode.map_or(source.layout, Into::into);
    let lock = source.lock()?;
    let report = tools::salvage(&lock, &to, layout, &mut never_cancel).map_err(|source| {
        let (command, to) = ("repair", to.display().to_string());
        StorageCommandError::Copy { command, to, source }
    })?;
    print_copied(&report, &to.display(), out)?;
    for problem in &report.problems {
        writeln!(out, "problem    {problem}")?;
    }
    if report.problems.is_empty() {
        writeln!(out, "no damage was found")?;
    }
    let (dir, to) = (source.path.display(), to.display());
    writeln!(
        out,
        "next       before the server starts again, set storage.data_dir to {to}, or move {dir} away and {to} to its \
         place; keep the damaged directory until you are sure that nothing is missing"
    )?;
    Ok(())
}
