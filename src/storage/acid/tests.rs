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

contract!(Acid);
