//! Opening the configured store.

use std::{path::Path, sync::Arc, time::Duration};

#[cfg(feature = "postgres")]
use super::reach;
use super::{Phase, StartupError, seek::seek};
#[cfg(feature = "postgres")]
use crate::storage::postgres::{PostgresOptions, PostgresStorage};
use crate::{
    clock::Clock,
    config::Config,
    control::Takeover,
    http::{App, HolderState},
    storage::{
        AcidStorage, DirLock, FileStorage, InMemoryStorage, LockError, Storage, StorageConfig, StorageError,
        StorageMode,
        lock::{self, HolderWatch},
        locked::LockedStorage,
    },
};

/// An open store.
pub(super) enum Opened {
    /// Without a directory: in memory, or in a database.
    Elsewhere(Arc<dyn Storage>),
    Disk(OnDisk),
}

pub(super) struct OnDisk {
    pub(super) storage: Arc<LockedStorage>,
    pub(super) takeover: Option<Takeover>,
}

/// A problem with the directory or the store in it.
fn in_directory(config: &Config, error: StorageError) -> StartupError {
    let context = format!("storage.data_dir {}", config.storage.data_dir.display());
    StartupError::with_source(Phase::StartServer, context, error)
}

fn failed(error: &dyn std::fmt::Display) -> StartupError {
    StartupError::new(Phase::StartServer, error.to_string())
}

/// Opens the store. While another process holds its directory, waits for `storage.lock_wait_secs`.
///
/// On disk, answers requests by way of `app` for those who held the directory before.
pub(super) async fn open(config: &Config, app: &App) -> Result<Opened, StartupError> {
    let section = &config.storage;
    if section.mode == StorageMode::Memory {
        return open_store(section, config.limits.max_memory_bytes)
            .map(|store| Opened::Elsewhere(Arc::from(store)))
            .map_err(|error| in_directory(config, error));
    }
    if section.mode == StorageMode::Postgres {
        return open_database(section.clone(), app).await;
    }
    app.hands_over(section.data_dir.clone());
    let max_wait = Duration::from_secs(section.lock_wait_secs);
    let lock = lock_directory(&section.data_dir, max_wait, app)
        .await
        .map_err(|error| failed(&error))?;
    // The store will be open in a moment.
    app.holder_is(HolderState::Answers);
    open_locked(config, app, lock).await.map(Opened::Disk)
}

/// Opens the store in a directory that this process has locked.
pub(super) async fn open_locked(config: &Config, app: &App, lock: DirLock) -> Result<OnDisk, StartupError> {
    let (section, max_memory_bytes) = (config.storage.clone(), config.limits.max_memory_bytes);
    let opened = tokio::task::spawn_blocking(move || open_store(&section, max_memory_bytes)).await;
    let storage = opened
        .map_err(|error| failed(&error))?
        .map_err(|error| in_directory(config, error))?;
    let storage = Arc::new(LockedStorage::new(storage, lock));
    // Not before: a request that this server receives and then fails to open the store for is lost.
    let takeover = open_takeover(config, app, Arc::clone(&storage) as Arc<dyn Storage>);
    Ok(OnDisk { storage, takeover })
}

/// Connects to the database, for as long as it cannot be reached: a server that runs waits for it as well.
#[cfg(feature = "postgres")]
async fn open_database(section: StorageConfig, app: &App) -> Result<Opened, StartupError> {
    let failed = |error| StartupError::with_source(Phase::StartServer, "storage.url", error);
    let options = PostgresOptions {
        url: section.url.unwrap_or_default(),
        listen_url: section.listen_url,
        name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    app.waits_for_database();
    let storage = PostgresStorage::new(&options, Clock::system()).map_err(failed)?;
    reach::until_reached(|| storage.start()).await.map_err(failed)?;
    Ok(Opened::Elsewhere(Arc::new(storage)))
}

#[cfg(not(feature = "postgres"))]
async fn open_database(_section: StorageConfig, _app: &App) -> Result<Opened, StartupError> {
    let problem = "storage.mode: this build has no support for PostgreSQL";
    Err(StartupError::new(Phase::StartServer, problem))
}

async fn lock_directory(dir: &Path, max_wait: Duration, app: &App) -> Result<DirLock, LockError> {
    let (clock, watch) = (Clock::system(), HolderWatch::default());
    if max_wait.is_zero() {
        return lock::wait(dir, max_wait, &clock, &watch).await;
    }
    tokio::select! {
        biased;
        locked = lock::wait(dir, max_wait, &clock, &watch) => locked,
        never = seek(dir, app, &watch) => match never {},
    }
}

/// A server works without the socket, but then the last holder has nobody to forward to.
fn open_takeover(config: &Config, app: &App, store: Arc<dyn Storage>) -> Option<Takeover> {
    let dir = &config.storage.data_dir;
    match Takeover::open(dir, app.clone(), store, config.limits.max_connections) {
        Ok(takeover) => Some(takeover),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "cannot open the handover socket in the data directory");
            None
        }
    }
}

fn open_store(section: &StorageConfig, max_memory_bytes: u64) -> Result<Box<dyn Storage>, StorageError> {
    let dir = &section.data_dir;
    Ok(match section.mode {
        StorageMode::Postgres => return Err(StorageError::Unsupported("PostgreSQL has no data directory")),
        StorageMode::Memory => Box::new(InMemoryStorage::new(max_memory_bytes)),
        StorageMode::Acid => Box::new(AcidStorage::open(dir, section.cache_bytes)?),
        StorageMode::FileDurable => Box::new(FileStorage::open(dir, true, section.max_open_files)?),
        StorageMode::FileFast => Box::new(FileStorage::open(dir, false, section.max_open_files)?),
    })
}
