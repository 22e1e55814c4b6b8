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
        /// In PostgreSQL, shared by any number of servers. Acknowledged means what PostgreSQL
        /// promises.
        Postgres = "postgres",
    }
}

impl StorageMode {
    /// Whether the store is kept in `storage.data_dir`.
    #[must_use]
    pub fn has_directory(self) -> bool {
        !matches!(self, Self::Memory | Self::Postgres)
    }
}

section! {
    /// Where streams are kept.
    pub struct StorageConfig {
        /// Memory, files, redb or PostgreSQL. The Rails form's default is postgres with a URL, and acid with a
        /// data directory.
        mode: StorageMode = StorageMode::Memory;
        /// Directory of the persistent modes.
        data_dir: PathBuf = PathBuf::from("./data/streams");
        /// The URL of the database, for the mode `postgres`. For another host, TLS with a verified
        /// certificate is required unless the URL ends with `?sslmode=disable`.
        url: Option<String> = None, { example: "\"postgres://streams:password@db.example.com/streams\"" };
        /// The URL of a direct connection for notifications, if `url` leads through a pooler in
        /// transaction mode. Without it, news of other servers take up to 25 ms longer there.
        listen_url: Option<String> = None, { example: "\"postgres://streams:password@db.example.com:5432/streams\"" };
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
