//! `storage backup`

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Place, copied, failed, on};
use crate::{
    cli::error::CliError,
    control::{self, AskError},
    storage::{
        lock::{self, LockError},
        tools::{self, Report},
    },
};

/// Copy everything to another directory, which a server can start on; also while one runs.
///
/// A running server is asked to copy itself, as it is at that moment, and goes on serving. It
/// does so by the file control.sock in its data directory, so run this on the same machine, as
/// the server's user, and where the server sees the same path: in the same container (docker
/// exec, kamal app exec --reuse). Without a server the directory is copied from here.
///
/// Until it is complete the copy is called DIR.partial. Exit 0 only when it is complete.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The directory to make; it must not be there yet, or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn run(args: &BackupArgs, place: &Place, out: &mut dyn Write) -> Result<(), CliError> {
    let to = place.target(&args.to)?;
    let report = match lock::acquire(&place.dir) {
        Ok(lock) => {
            tools::migrate(&lock, &to, place.mode, &mut on).map_err(|error| failed("the backup", &to, &error))?
        }
        Err(held @ LockError::Held { .. }) => ask(&held, &place.dir, &to)?,
        Err(error) => return Err(CliError::Usage(format!("{error}; run this as the server's user"))),
    };
    copied(&report, &to, out)
}

fn ask(held: &LockError, dir: &Path, to: &Path) -> Result<Report, CliError> {
    control::backup(dir, to).map_err(|error| {
        CliError::Usage(match error {
            AskError::Unreachable(_) => format!(
                "{held}; {error}. If that is another storage command, wait for its end; if it is a server, its log \
                 says why it has no control socket, and with the server stopped this command copies by itself"
            ),
            AskError::Broken(_) => format!("{held}; {error}. There is no complete backup in {}", to.display()),
            AskError::Refused(_) => format!("the backup to {} failed: {error}", to.display()),
        })
    })
}
