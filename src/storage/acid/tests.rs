use super::*;
use crate::storage::contract::{Subject, append, contract, put, record};

struct Acid(tempfile::TempDir);

impl Subject for Acid {
    type Store = AcidStorage;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> AcidStorage {
        AcidStorage::open(self.0.path(), 1024 * 1024).unwrap()
    }
}

contract!(Acid);

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let subject = Acid::new();
    let store = subject.open();
    store
        .with("test", |db| {
            let txn = db.begin_write()?;
            txn.open_table(META)?.insert(META_FORMAT, FORMAT + 1)?;
            txn.commit()?;
            Ok(())
        })
        .unwrap();
    drop(store);
    let error = AcidStorage::open(subject.0.path(), 0).unwrap_err();
    assert!(
        matches!(error, StorageError::NewerFormat { found: 2, supported: 1 }),
        "{error}"
    );
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE_NAME), vec![b'x'; 100_000]).unwrap();
    let error = AcidStorage::open(dir.path(), 0).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt(_)), "{error:?}");
}

#[test]
fn a_store_that_was_never_closed_opens() {
    let subject = Acid::new();
    let store = subject.open();
    store.commit(&[put("a", record(1)), append(1, 0, "hello")]).unwrap();
    // What a killed process leaves: the file as it is, nothing flushed at the end.
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(subject.0.path().join(FILE_NAME), copy.path().join(FILE_NAME)).unwrap();
    let copied = AcidStorage::open(copy.path(), 1024 * 1024).unwrap();
    assert_eq!(&copied.read(1, 0..10).unwrap()[..], b"hello");
    assert_eq!(copied.usage().streams, 1);
}
