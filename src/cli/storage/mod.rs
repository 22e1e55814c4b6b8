//! `storage`: the directory that streams are kept in.

mod backup;
mod check;
mod migrate;
mod repair;

use std::{
    io::Write,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};

use super::error::CliError;
use crate::{
    config::{Config, ConfigLoadOptions, StorageMode},
    startup::StartupError,
    storage::{
        StorageError,
        lock::{self, DirLock, LockError},
        tools::{self, Report},
    },
};

/// Check, repair, convert or back up the directory that streams are kept in.
///
/// The directory is the configuration's storage.data_dir, or --data-dir. Run the commands as
/// the server's user, so that the files are the server's. None of them changes what it reads.
#[derive(Debug, Args)]
pub struct StorageArgs {
    /// The directory to work on. Default: the configuration's storage.data_dir.
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

impl From<PersistentMode> for StorageMode {
    fn from(mode: PersistentMode) -> Self {
        match mode {
            PersistentMode::Acid => Self::Acid,
            PersistentMode::FileDurable => Self::FileDurable,
            PersistentMode::FileFast => Self::FileFast,
        }
    }
}

/// Runs `storage`. Answers the exit code.
///
/// # Errors
/// [`CliError`]
pub fn run(args: &StorageArgs, options: &ConfigLoadOptions, out: &mut dyn Write) -> Result<u8, CliError> {
    let place = Place::find(args.data_dir.as_deref(), options)?;
    match &args.command {
        StorageCommand::Check(_) => check::run(&place, out),
        StorageCommand::Repair(args) => repair::run(args, &place, out).map(|()| 0),
        StorageCommand::Migrate(args) => migrate::run(args, &place, out).map(|()| 0),
        StorageCommand::Backup(args) => backup::run(args, &place, out).map(|()| 0),
    }
}

/// What a command works on.
struct Place {
    dir: PathBuf,
    /// The mode whose layout a copy gets.
    mode: StorageMode,
}

impl Place {
    fn find(given: Option<&Path>, options: &ConfigLoadOptions) -> Result<Self, CliError> {
        let section = Config::load(options).map_err(StartupError::from)?.config.storage;
        let dir = match (given, section.mode) {
            (Some(dir), _) => dir.to_owned(),
            (None, StorageMode::Memory) => {
                return Err(CliError::Usage(
                    "storage.mode is memory: streams are kept in no directory, so there is nothing to check, repair, \
                     migrate or back up (--data-dir names a directory whatever the configuration says)"
                        .to_owned(),
                ));
            }
            (None, _) => section.data_dir,
        };
        let dir = std::path::absolute(&dir).map_err(|error| CliError::file(&dir, error))?;
        // A typing mistake must not make a directory, nor leave a lock in somebody's.
        if !dir.is_dir() {
            let text = format!("the data directory {} does not exist", dir.display());
            return Err(CliError::Usage(text));
        }
        let holds_store = tools::holds_store(&dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                CliError::Usage(format!("{}: {error}; run this as the server's user", dir.display()))
            }
            _ => CliError::file(&dir, error),
        })?;
        if !holds_store {
            let text = format!("{} holds no streams: no journal and no index.redb", dir.display());
            return Err(CliError::Usage(text));
        }
        let mode = match section.mode {
            StorageMode::Memory if dir.join("data").is_dir() => StorageMode::FileDurable,
            StorageMode::Memory => StorageMode::Acid,
            mode => mode,
        };
        Ok(Self { dir, mode })
    }

    /// Takes the directory, as a server does.
    fn lock(&self) -> Result<DirLock, CliError> {
        lock::acquire(&self.dir).map_err(|error| {
            let advice = match error {
                LockError::Held { .. } => {
                    "; stop that server first, or make a copy with `storage backup --to DIR` and work on it"
                }
                LockError::Unusable { .. } => "; run this as the server's user",
            };
            CliError::Usage(format!("{error}{advice}"))
        })
    }

    /// Where a copy goes, with its full path.
    fn target(&self, to: &Path) -> Result<PathBuf, CliError> {
        let target = std::path::absolute(to).map_err(|error| CliError::file(to, error))?;
        let parent = target.parent().and_then(|parent| parent.canonicalize().ok());
        let dir = self
            .dir
            .canonicalize()
            .map_err(|error| CliError::file(&self.dir, error))?;
        if parent.is_some_and(|parent| parent.starts_with(&dir)) {
            let (to, dir) = (target.display(), dir.display());
            let text = format!("--to {to} is in the data directory {dir}: name a place outside of it");
            return Err(CliError::Usage(text));
        }
        Ok(target)
    }
}

/// Nobody ends a command's copy but a signal.
fn on(_: &Report) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn failed(what: &str, to: &Path, error: &StorageError) -> CliError {
    CliError::Usage(format!("{what} to {} failed: {error}", to.display()))
}

fn copied(report: &Report, to: &Path, out: &mut dyn Write) -> Result<(), CliError> {
    let (streams, bytes) = (report.streams, report.bytes);
    writeln!(
        out,
        "copied     {streams} streams with {bytes} bytes to {}",
        to.display()
    )?;
    Ok(())
}
