//! `storage check`

use std::io::Write;

use clap::Args;

use super::Place;
use crate::{
    cli::error::CliError,
    storage::{
        StorageError,
        tools::{self, Report},
    },
};

/// Verify the directory, without a server on it. Exit 0 when it is whole, 1 when it is damaged.
///
/// Verifies the checksums of the journal and of the index, and that records, bytes, files and
/// what is due fit together. Changes nothing.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {}

pub(super) fn run(place: &Place, out: &mut dyn Write) -> Result<u8, CliError> {
    let lock = place.lock()?;
    let report = match tools::check(&lock) {
        Err(StorageError::Corrupt(problem)) => Report {
            problems: vec![problem],
            ..Report::default()
        },
        checked => checked
            .map_err(|error| CliError::Usage(format!("{} could not be checked: {error}", place.dir.display())))?,
    };
    writeln!(out, "data_dir   {}", place.dir.display())?;
    writeln!(out, "streams    {}\nbytes      {}", report.streams, report.bytes)?;
    if report.problems.is_empty() {
        writeln!(out, "ok")?;
        return Ok(0);
    }
    for problem in &report.problems {
        writeln!(out, "problem    {problem}")?;
    }
    writeln!(
        out,
        "damaged: `storage repair --to DIR` copies what can be read to another directory"
    )?;
    Ok(1)
}
