//! `storage`: commands for a data directory.

mod backup;
mod check;
mod error;
mod migrate;
mod repair;

use std::{
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};

pub use self::error::StorageCommandError;
use super::CliError;
use crate::{
    clock::Clock,
    config::{Config, ConfigLoadOptions, StorageMode},
    startup::StartupError,
    storage::{
        DirLock, StoreReport, lock,
        tools::{self, Layout},
    },
};

/// Check, repair, convert or back up a data directory.
///
/// The directory is the configuration's storage.data_dir, or --data-dir. Run these commands as the
/// server's user, so that the server can access the files. None of them changes the directory that
/// it reads.
#[derive(Debug, Args)]
pub struct StorageArgs {
    /// The data directory. Default: the configuration's storage.data_dir.
    #[arg(long, global = true, value_name = "PATH")]
    pub data_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: StorageCommand,
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    Check(check::CheckArgs),
    Repair(repair::RepairArgs),
    Migrate(migrate::MigrateArgs),
    Backup(backup::BackupArgs),
}

/// The modes that have a directory.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PersistentMode {
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

/// Runs `storage` and returns the exit code.
///
/// # Errors
/// [`CliError`]
pub fn run(args: &StorageArgs, options: &ConfigLoadOptions, out: &mut dyn Write) -> Result<u8, CliError> {
    let data_dir = DataDir::find(args.data_dir.as_deref(), options)?;
    match &args.command {
        StorageCommand::Check(_) => check::run(&data_dir, out),
        StorageCommand::Repair(args) => repair::run(args, &data_dir, out).map(|()| 0),
        StorageCommand::Migrate(args) => migrate::run(args, &data_dir, out).map(|()| 0),
        StorageCommand::Backup(args) => backup::run(args, &data_dir, out).map(|()| 0),
    }
}

/// The directory that a command reads.
struct DataDir {
    path: PathBuf,
    /// The layout of a copy, unless the command names another.
    layout: Layout,
}

impl DataDir {
    fn find(given: Option<&Path>, options: &ConfigLoadOptions) -> Result<Self, CliError> {
        let section = Config::load(options).map_err(StartupError::from)?.config.storage;
        let path = match (given, section.mode) {
            (Some(path), _) => path.to_owned(),
            (None, StorageMode::Memory) => return Err(StorageCommandError::InMemory.into()),
            (None, _) => section.data_dir,
        };
        let path = std::path::absolute(&path).map_err(|error| CliError::file(&path, error))?;
        // Opening would create a mistyped directory, or put a lock file into an unrelated one.
        if !path.is_dir() {
            return Err(StorageCommandError::NoDirectory(path).into());
        }
        match tools::holds_store(&path) {
            Ok(true) => {}
            Ok(false) => return Err(StorageCommandError::NoStore(path).into()),
            Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(StorageCommandError::NoAccess { path, source }.into());
            }
            Err(error) => return Err(CliError::file(&path, error)),
        }
        let layout = match section.mode {
            StorageMode::Acid => Layout::Index,
            StorageMode::FileDurable | StorageMode::FileFast => Layout::DataFiles,
            StorageMode::Memory if path.join("data").is_dir() => Layout::DataFiles,
            StorageMode::Memory => Layout::Index,
        };
        Ok(Self { path, layout })
    }

    /// Locks the directory, as a server does.
    fn lock(&self) -> Result<DirLock, CliError> {
        lock::acquire(&self.path, &Clock::system()).map_err(|error| StorageCommandError::Lock(error).into())
    }

    /// The absolute path of a copy, which must be outside the directory.
    fn target(&self, to: &Path) -> Result<PathBuf, CliError> {
        let target = std::path::absolute(to).map_err(|error| CliError::file(to, error))?;
        let parent = target.parent().and_then(|parent| parent.canonicalize().ok());
        let dir = self
            .path
            .canonicalize()
            .map_err(|error| CliError::file(&self.path, error))?;
        if parent.is_some_and(|parent| parent.starts_with(&dir)) {
            return Err(StorageCommandError::TargetInside { target, dir }.into());
        }
        Ok(target)
    }
}

/// The progress callback of commands, which are only cancelled by a signal.
fn never_cancel(_: &StoreReport) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn print_copied(report: &StoreReport, to: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let (streams, bytes) = (report.streams, report.bytes);
    writeln!(
        out,
        "copied     {streams} streams with {bytes} bytes to {}",
        to.display()
    )?;
    Ok(())
}
