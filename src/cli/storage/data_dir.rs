//! The directory that a command works on.

use std::path::{Path, PathBuf};

use super::error::StorageCommandError;
use crate::{
    cli::error::CliError,
    clock::Clock,
    config::{Config, ConfigLoadOptions},
    startup::StartupError,
    storage::StorageMode,
    storage::{
        DirLock, lock,
        tools::{self, Layout},
    },
};

/// The directory that a command reads.
pub(super) struct DataDir {
    pub(super) path: PathBuf,
    /// The layout of a copy, unless the command names another.
    pub(super) layout: Layout,
}

impl DataDir {
    pub(super) fn find(given: Option<&Path>, options: &ConfigLoadOptions) -> Result<Self, CliError> {
        let section = Config::load(options).map_err(StartupError::from)?.config.storage;
        let path = match (given, section.mode) {
            (Some(path), _) => path.to_owned(),
            (None, StorageMode::Postgres) => return Err(StorageCommandError::InPostgres.into()),
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
            StorageMode::Memory | StorageMode::Postgres if path.join("data").is_dir() => Layout::DataFiles,
            StorageMode::Memory | StorageMode::Postgres => Layout::Index,
        };
        Ok(Self { path, layout })
    }

    /// Locks the directory, as a server does.
    pub(super) fn lock(&self) -> Result<DirLock, CliError> {
        lock::acquire(&self.path, &Clock::system()).map_err(|error| StorageCommandError::Lock(error).into())
    }

    /// The absolute path of a copy, which must be outside the directory.
    pub(super) fn target(&self, to: &Path) -> Result<PathBuf, CliError> {
        outside(to, Some(&self.path))
    }
}

/// The absolute path of a copy, which must be outside the directory that is copied.
pub(super) fn outside(to: &Path, source: Option<&Path>) -> Result<PathBuf, CliError> {
    let target = std::path::absolute(to).map_err(|error| CliError::file(to, error))?;
    if let Some(source) = source {
        let parent = target.parent().and_then(|parent| parent.canonicalize().ok());
        let dir = source.canonicalize().map_err(|error| CliError::file(source, error))?;
        if parent.is_some_and(|parent| parent.starts_with(&dir)) {
            return Err(StorageCommandError::TargetInside { target, dir }.into());
        }
    }
    Ok(target)
}
