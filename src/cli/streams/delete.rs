//! `streams delete`

use std::io::Write;

use clap::Args;
use http::StatusCode;

use crate::{
    cli::{
        count::StreamCount,
        error::CliError,
        remote::{Pages, Remote, RemoteArgs, Selection},
    },
    protocol::StreamName,
};

/// Arguments of `streams delete`.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["names", "prefix"])))]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    selection: Selection,
    /// Delete all streams of --prefix; without it they are only counted.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

/// The results so far.
#[derive(Default)]
struct Tally {
    deleted: u64,
    failed: u64,
}

pub(super) async fn run(args: &DeleteArgs, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
    let mut tally = Tally::default();
    match &args.selection.prefix {
        Some(prefix) if !args.yes => return Err(count(prefix, remote).await?),
        Some(prefix) => {
            let mut pages = Pages::new(Some(prefix), None);
            while let Some(page) = pages.next(remote).await? {
                for listed in page {
                    tally.delete(&listed.name, remote, out).await?;
                }
            }
        }
        None => {
            for name in &args.selection.names {
                tally.delete(name, remote, out).await?;
            }
        }
    }
    if tally.failed == 0 && args.selection.prefix.is_some() {
        writeln!(out, "{} deleted", StreamCount(tally.deleted))?;
    }
    match tally.failed {
        0 => Ok(()),
        failed => Err(CliError::NotAllDeleted {
            deleted: StreamCount(tally.deleted),
            failed,
        }),
    }
}

/// The refusal to delete everything below a prefix without `--yes`.
async fn count(prefix: &str, remote: &Remote) -> Result<CliError, CliError> {
    let (mut count, mut pages) = (0, Pages::new(Some(prefix), None));
    while let Some(page) = pages.next(remote).await? {
        count += page.len() as u64;
    }
    let streams = StreamCount(count);
    Ok(CliError::Usage(format!(
        "{streams} would be deleted, with names that begin with {prefix:?}; add --yes to delete them for good"
    )))
}

impl Tally {
    /// Deletes a stream and reports the result. Fails when all other streams would fail too.
    async fn delete(&mut self, name: &StreamName, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
        match remote.delete(name).await {
            Ok(()) => {
                self.deleted += 1;
                writeln!(out, "deleted {name}")?;
            }
            Err(CliError::Remote(error)) if !error.is_systemic() => {
                self.failed += 1;
                match error.status() {
                    Some(StatusCode::NOT_FOUND) => writeln!(out, "not deleted {name}: there is no such stream")?,
                    _ => writeln!(out, "not deleted {name}: {error}")?,
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
