use super::*;
use crate::storage::contract::{Subject, contract, scratch};

struct Durable(tempfile::TempDir);

impl Subject for Durable {
    type Store = FileStorage;

    fn new() -> Self {
        Self(scratch())
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
        Self(scratch())
    }

    fn open(&self) -> FileStorage {
        FileStorage::open(self.0.path(), false, 4).unwrap()
    }
}

mod fast {
    super::contract!(super::Fast);
}
