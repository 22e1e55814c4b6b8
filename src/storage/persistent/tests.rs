use super::*;
use crate::storage::contract::{Subject, contract, scratch};

struct Acid(tempfile::TempDir);

impl Subject for Acid {
    type Store = AcidStorage;

    fn new() -> Self {
        Self(scratch())
    }

    fn open(&self) -> AcidStorage {
        AcidStorage::open(self.0.path(), 1024 * 1024).unwrap()
    }
}

mod acid {
    super::contract!(super::Acid);
}

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

mod file_durable {
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

mod file_fast {
    super::contract!(super::Fast);
}
