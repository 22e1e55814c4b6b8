//! `storage migrate`

use std::{io::Write, path::PathBuf};

use clap::{Args, ValueEnum};

use super::{
    StorageArgs,
    copy::{PersistentMode, never_cancel, print_copied},
    data_dir::DataDir,
    error::StorageCommandError,
};
use crate::{cli::error::CliError, config::ConfigLoadOptions, storage::tools};

/// Copy everything to another directory in the layout of a mode, or from or to a database.
///
/// Names, offsets, ids and producers stay the same. Needs stopped servers. Between the modes on disk, it is not
/// required: they read each other's directories, and existing data keeps its layout. This command rewrites
/// everything and leaves out unused space.
///
/// A database is the one of the configuration, which has storage.mode postgres in both directions:
/// `--data-dir DIR --mode postgres` copies a directory to it, and `--to DIR --mode acid` without --data-dir copies
/// it to a directory. It is used once no server has been seen in it for 12 seconds. A copy to a database appears
/// all at once; nothing is left of one that fails.
#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// The directory to create. It must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The layout to write, or postgres.
    #[arg(long, value_name = "MODE")]
    mode: TargetMode,
}

/// The modes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TargetMode {
    /// Everything in the index.
    Acid,
    /// Large streams in files of their own.
    FileDurable,
    /// The same on disk as file-durable.
    FileFast,
    /// The database of storage.url.
    #[cfg(feature = "postgres")]
    Postgres,
}

impl TargetMode {
    /// `None`: it has no directory.
    fn on_disk(self) -> Option<PersistentMode> {
        match self {
            Self::Acid => Some(PersistentMode::Acid),
            Self::FileDurable => Some(PersistentMode::FileDurable),
            Self::FileFast => Some(PersistentMode::FileFast),
            #[cfg(feature = "postgres")]
            Self::Postgres => None,
        }
    }
}

pub(super) fn run(
    args: &MigrateArgs,
    storage: &StorageArgs,
    options: &ConfigLoadOptions,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    match args.mode.on_disk() {
        Some(mode) => to_directory(args, mode, storage, options, out),
        None => to_database(args, storage, options, out),
    }
}

fn to_directory(
    args: &MigrateArgs,
    mode: PersistentMode,
    storage: &StorageArgs,
    options: &ConfigLoadOptions,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let to = args.to.as_deref().ok_or(StorageCommandError::NoTarget)?;
    let is_copied = copy_database(to, mode, storage, options, out)?;
    if !is_copied {
        let source = DataDir::find(storage.data_dir.as_deref(), options)?;
        let to = source.target(to)?;
        let lock = source.lock()?;
        let report = tools::migrate(&lock, &to, mode.into(), &mut never_cancel).map_err(|source| {
            let (command, to) = ("migration", to.display().to_string());
            StorageCommandError::Copy { command, to, source }
        })?;
        print_copied(&report, &to.display(), out)?;
    }
    let name = mode.to_possible_value();
    let name = name.as_ref().map_or("", |name| name.get_name());
    let to = std::path::absolute(to).map_err(|error| CliError::file(to, error))?;
    writeln!(
        out,
        "next       before the server starts again, set storage.mode to {name} and storage.data_dir to {}",
        to.display()
    )?;
    Ok(())
}

/// Copies the database, if that is where the configuration keeps streams.
#[cfg(feature = "postgres")]
fn copy_database(
    to: &std::path::Path,
    mode: PersistentMode,
    storage: &StorageArgs,
    options: &ConfigLoadOptions,
    out: &mut dyn Write,
) -> Result<bool, CliError> {
    let Some(source) = super::database::read(storage, options)? else {
        return Ok(false);
    };
    super::database::migrate_to_directory(&source, to, mode.into(), out)?;
    Ok(true)
}

#[cfg(not(feature = "postgres"))]
fn copy_database(
    _to: &std::path::Path,
    _mode: PersistentMode,
    _storage: &StorageArgs,
    _options: &ConfigLoadOptions,
    _out: &mut dyn Write,
) -> Result<bool, CliError> {
    Ok(false)
}

#[cfg(feature = "postgres")]
fn to_database(
    args: &MigrateArgs,
    storage: &StorageArgs,
    options: &ConfigLoadOptions,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if args.to.is_some() {
        return Err(StorageCommandError::TwoTargets.into());
    }
    let target = super::database::configured(options)?.ok_or(StorageCommandError::NoDatabase)?;
    let source = storage.data_dir.as_deref().ok_or(StorageCommandError::NoSource)?;
    let source = DataDir::find(Some(source), options)?;
    super::database::migrate_from_directory(&source, &target, out)
}

#[cfg(not(feature = "postgres"))]
fn to_database(
    _args: &MigrateArgs,
    _storage: &StorageArgs,
    _options: &ConfigLoadOptions,
    _out: &mut dyn Write,
) -> Result<(), CliError> {
    Err(StorageCommandError::NoDatabase.into())
}
