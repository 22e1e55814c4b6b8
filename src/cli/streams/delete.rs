use std::io::Write;

use clap::Args;
use http::StatusCode;

use super::{Count, Pages};
use crate::{
    cli::{
        CliError,
        remote::{Remote, RemoteArgs, Selection},
    },
    protocol::StreamName,
};

/// `streams delete`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["names", "prefix"])))]
pub(super) struct DeleteArgs {
    #[command(flatten)]
    selection: Selection,
    /// Really delete all streams of --prefix; without it they are only counted.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) remote: RemoteArgs,
}

/// What became of the streams so far.
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
        writeln!(out, "{} deleted", Count(tally.deleted))?;
    }
    match tally.failed {
        0 => Ok(()),
        failed => Err(CliError::Usage(format!(
            "{} deleted, {failed} not, as said above",
            Count(tally.deleted)
        ))),
    }
}

/// What to say instead of deleting everything below a prefix.
async fn count(prefix: &str, remote: &Remote) -> Result<CliError, CliError> {
    let (mut count, mut pages) = (0, Pages::new(Some(prefix), None));
    while let Some(page) = pages.next(remote).await? {
        count += page.len() as u64;
    }
    let streams = Count(count);
    Ok(CliError::Usage(format!(
        "{streams} would be deleted, whose names begin with {prefix:?}; add --yes to delete them for good"
    )))
}

impl Tally {
    /// Deletes a stream and reports it, or why not. Fails where the others would fail too.
    async fn delete(&mut self, name: &StreamName, remote: &Remote, out: &mut dyn Write) -> Result<(), CliError> {
        match remote.delete(name).await {
            Ok(()) => {
                self.deleted += 1;
                writeln!(out, "deleted {name}")?;
            }
            Err(CliError::Remote(error)) if !error.is_general() => {
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
