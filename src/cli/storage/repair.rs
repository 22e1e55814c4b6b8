//! `storage repair`

use std::{io::Write, path::PathBuf};

use clap::Args;

use super::{PersistentMode, Place, copied, failed, on};
use crate::{cli::error::CliError, storage::tools};

/// Copy what can be read of a damaged directory to another one, and list what cannot.
///
/// The damaged directory stays as it is. Needs a stopped server.
#[derive(Debug, Args)]
pub(super) struct RepairArgs {
    /// The directory to make; it must not be there yet, or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The layout to write. Default: that of the configuration's storage.mode.
    #[arg(long, value_name = "MODE")]
    mode: Option<PersistentMode>,
}

pub(super) fn run(args: &RepairArgs, place: &Place, out: &mut dyn Write) -> Result<(), CliError> {
    let to = place.target(&args.to)?;
    let mode = args.mode.map_or(place.mode, Into::into);
    let lock = place.lock()?;
    let report = tools::salvage(&lock, &to, mode, &mut on).map_err(|error| failed("the repair", &to, &error))?;
    copied(&report, &to, out)?;
    for problem in &report.problems {
        writeln!(out, "problem    {problem}")?;
    }
    if report.problems.is_empty() {
        writeln!(out, "nothing was found damaged")?;
    }
    let (dir, to) = (place.dir.display(), to.display());
    writeln!(
        out,
        "next       before the server starts again, set storage.data_dir to {to}, or move {dir} away and {to} to its \
         place; keep the damaged directory until nobody misses anything"
    )?;
    Ok(())
}
