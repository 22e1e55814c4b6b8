//! Shared code of the commands that copy.

use std::{fmt::Display, io::Write, ops::ControlFlow};

use clap::ValueEnum;

use crate::{
    cli::error::CliError,
    storage::{StoreReport, tools::Layout},
};

/// The modes that have a directory.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PersistentMode {
    /// Everything in the index.
    Acid,
    /// Large streams in files of their own.
    FileDurable,
    /// The same on disk as file-durable.
    FileFast,
}

impl From<PersistentMode> for Layout {
    fn from(mode: PersistentMode) -> Self {
        match mode {
            PersistentMode::Acid => Self::Index,
            PersistentMode::FileDurable | PersistentMode::FileFast => Self::DataFiles,
        }
    }
}

/// The progress callback of commands, which are only cancelled by a signal.
pub(super) fn never_cancel(_: &StoreReport) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub(super) fn print_copied(report: &StoreReport, to: &dyn Display, out: &mut dyn Write) -> Result<(), CliError> {
    let (streams, bytes) = (report.streams, report.bytes);
    writeln!(out, "copied     {streams} streams with {bytes} bytes to {to}")?;
    Ok(())
}
