//! Opening the configured store.

use std::{sync::Arc, time::Duration};

use super::{Phase, StartupError};
use crate::{
    clock::Clock,
    config::{Config, StorageConfig, StorageMode},
    storage::{AcidStorage, FileStorage, InMemoryStorage, Storage, StorageError, lock, locked::LockedStorage},
};

/// Opens the store. While another process holds its directory, waits for `storage.lock_wait_secs`.
pub(super) async fn open(config: &Config) -> Result<Arc<dyn Storage>, StartupError> {
    let (section, max_memory_bytes) = (config.storage.clone(), config.limits.max_memory_bytes);
    let in_directory = |error: StorageError| {
        let context = format!("storage.data_dir {}", config.storage.data_dir.display());
        StartupError::with_source(Phase::StartServer, context, error)
    };
    if section.mode == StorageMode::Memory {
        return open_store(&section, max_memory_bytes)
            .map(Arc::from)
            .map_err(in_directory);
    }
    let max_wait = Duration::from_secs(section.lock_wait_secs);
    let failed = |error: &dyn std::fmt::Display| StartupError::new(Phase::StartServer, error.to_string());
    let lock = lock::wait(&section.data_dir, max_wait, &Clock::system())
        .await
        .map_err(|error| failed(&error))?;
    let opened = tokio::task::spawn_blocking(move || open_store(&section, max_memory_bytes)).await;
    let storage = opened.map_err(|error| failed(&error))?.map_err(in_directory)?;
    Ok(Arc::new(LockedStorage::new(storage, lock)))
}

fn open_store(section: &StorageConfig, max_memory_bytes: u64) -> Result<Box<dyn Storage>, StorageError> {
    let dir = &section.data_dir;
    Ok(match section.mode {
        StorageMode::Memory => Box::new(InMemoryStorage::new(max_memory_bytes)),
        StorageMode::Acid => Box::new(AcidStorage::open(dir, section.cache_bytes)?),
        StorageMode::FileDurable => Box::new(FileStorage::open(dir, true, section.max_open_files)?),
        StorageMode::FileFast => Box::new(FileStorage::open(dir, false, section.max_open_files)?),
    })
}
