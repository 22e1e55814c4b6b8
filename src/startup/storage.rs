//! Opening the store that the configuration asks for.

use std::{sync::Arc, time::Duration};

use super::{Phase, StartupError};
use crate::{
    config::{Config, StorageConfig, StorageMode},
    storage::{Storage, StorageError, acid::AcidStorage, file::FileStorage, locked::Held, lock, memory::InMemoryStorage},
};

/// Opens the store. While another process holds its directory this waits, as long as the
/// configuration says.
pub(super) async fn open(config: &Config) -> Result<Arc<dyn Storage>, StartupError> {
    if config.storage.mode == StorageMode::Memory {
        return Ok(Arc::new(InMemoryStorage::new(config.limits.max_memory_bytes)));
    }
    let wait = Duration::from_secs(config.storage.lock_wait_secs);
    let failed = |error: &dyn std::fmt::Display| StartupError::new(Phase::StartServer, error.to_string());
    let lock = lock::wait(&config.storage.data_dir, wait)
        .await
        .map_err(|error| failed(&error))?;
    let section = config.storage.clone();
    let opened = tokio::task::spawn_blocking(move || open_persistent(&section)).await;
    let storage = opened.map_err(|error| failed(&error))?.map_err(|error| {
        let context = format!("storage.data_dir {}", config.storage.data_dir.display());
        StartupError::with_source(Phase::StartServer, context, error)
    })?;
    Ok(Arc::new(Held::new(storage, lock)))
}

fn open_persistent(section: &StorageConfig) -> Result<Box<dyn Storage>, StorageError> {
    let (dir, open_files) = (&section.data_dir, section.max_open_files);
    Ok(match section.mode {
        StorageMode::Acid => Box::new(AcidStorage::open(dir, section.cache_bytes)?),
        StorageMode::FileDurable => Box::new(FileStorage::open(dir, true, open_files)?),
        StorageMode::FileFast => Box::new(FileStorage::open(dir, false, open_files)?),
        StorageMode::Memory => Box::new(InMemoryStorage::new(0)),
    })
}
