use std::path::PathBuf;

use super::schema::{choices, section};

/// `storage.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StorageMode {
    /// `memory`: lost on restart.
    #[default]
    Memory,
    /// `file-fast`: a process crash loses nothing, a power loss may lose the last moments.
    FileFast,
    /// `file-durable`: acknowledged means on disk.
    FileDurable,
    /// `acid`: acknowledged means on disk, in a transaction (redb).
    Acid,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// `storage.mode`. Default `memory` (the Rails form: `acid` when `data_dir` is given).
    pub mode: StorageMode,
    /// `storage.data_dir`: where the persistent modes keep their files. Default `./data/streams`.
    pub data_dir: PathBuf,
    /// `storage.lock_wait_secs` (`storage.lock_wait` in the Rails form, such as `60s`): how
    /// long a start waits for another holder of the data directory. Default 60; 0 refuses at once.
    pub lock_wait_secs: u64,
    /// `storage.max_open_files`: data files kept open by the file modes. Default 512.
    pub max_open_files: usize,
    /// `storage.cache_bytes`: memory for recently read data. Default 67108864 (64 MiB).
    pub cache_bytes: u64,
    /// `storage.acid_shard_count`: accepted for compatibility. Default 1.
    pub acid_shard_count: usize,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            mode: StorageMode::Memory,
            data_dir: PathBuf::from("./data/streams"),
            lock_wait_secs: 60,
            max_open_files: 512,
            cache_bytes: 64 * 1024 * 1024,
            acid_shard_count: 1,
        }
    }
}

section!(StorageConfig {
    mode,
    data_dir,
    lock_wait_secs,
    max_open_files,
    cache_bytes,
    acid_shard_count,
});
choices!(StorageMode {
    Memory = "memory",
    FileFast = "file-fast",
    FileDurable = "file-durable",
    Acid = "acid",
});
