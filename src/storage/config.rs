//! `[storage]`: where streams are kept.

use std::path::PathBuf;

use crate::settings::{choices, section};

choices! {
    /// `storage.mode`
    #[derive(Default)]
    pub enum StorageMode {
        /// Lost on restart.
        #[default]
        Memory = "memory",
        /// A process crash loses nothing; a power failure may lose the last moments.
        FileFast = "file-fast",
        /// Acknowledged means on disk.
        FileDurable = "file-durable",
        /// Acknowledged means on disk, in a transaction (redb).
        Acid = "acid",
    }
}

section! {
    /// Where streams are kept.
    pub struct StorageConfig {
        /// Memory, files or redb. The Rails form's default with a data directory is acid.
        mode: StorageMode = StorageMode::Memory;
        /// Directory of the persistent modes.
        data_dir: PathBuf = PathBuf::from("./data/streams");
        /// How long a start waits for another process to release the data directory. 0: not at all.
        lock_wait_secs: u64 = 60, { max: 86_400, rails: "storage.lock_wait" };
        /// Data files that the file modes keep open.
        max_open_files: usize = 512, { min: 1, rails: "storage.max_file_handles" };
        /// Memory for recently read data.
        cache_bytes: u64 = 64 * 1024 * 1024;
        /// Accepted for compatibility; has no effect.
        acid_shard_count: usize = 1, { min: 1 };
    }
}
