use super::*;
use crate::storage::contract::{Subject, contract};

struct Durable(tempfile::TempDir);

impl Subject for Durable {
    type Store = FileStorage;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> FileStorage {
        FileStorage::open(self.0.path(), true, 4).unwrap()
    }
}

mod durable {
    super::contract!(super::Durable);
}

struct Fast(tempfile::TempDir);

impl Subject for Fast {
    type Store = FileStorage;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> FileStorage {
        FileStorage::open(self.0.path(), false, 4).unwrap()
    }
}

mod fast {
    super::contract!(super::Fast);
}
