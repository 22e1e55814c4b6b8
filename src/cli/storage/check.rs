//! `storage check`

use std::io::Write;

use clap::Args;

use super::{data_dir::DataDir, error::StorageCommandError};
use crate::{
    cli::error::CliError,
    storage::{StoreReport, tools},
};

/// Verify a store. Exit 0 when it is whole, 1 when it is damaged.
///
/// In a directory, verifies the checksums of the journal and the index, and that records, bytes, files and due
/// times agree. Needs a stopped server. With storage.mode postgres, verifies that the rows of the database agree,
/// also while servers use it. Changes nothing.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {}

pub(super) fn run(source: &DataDir, out: &mut dyn Write) -> Result<u8, CliError> {
    let lock = source.lock()?;
    let report = match tools::check(&lock) {
        Ok(report) => report,
        Err(error) => {
            let dir = source.path.clone();
            let damage = error.into_damage();
            let damage = damage.map_err(|source| StorageCommandError::Check { dir, source })?;
            StoreReport {
                problems: vec![damage],
                ..StoreReport::default()
            }
        }
    };
    let advice = "damaged: `storage repair --to DIR` copies what can be read to another directory";
    print_report(&report, &format!("data_dir   {}", source.path.display()), advice, out)
}

/// Prints what a check has found in a place. Returns the exit code.
pub(super) fn print_report(
    report: &StoreReport,
    place: &str,
    advice: &str,
    out: &mut dyn Write,
) -> Result<u8, CliError> {
    writeln!(out, "{place}")?;
    writeln!(out, "streams    {}\nbytes      {}", report.streams, report.bytes)?;
    if report.problems.is_empty() {
        writeln!(out, "ok")?;
        return Ok(0);
    }
    for problem in &report.problems {
        writeln!(out, "problem    {problem}")?;
    }
    writeln!(out, "{advice}")?;
    Ok(1)
}
