//! Directories of other versions, and damaged ones.

use crate::storage::contract::CommitChanges;
use std::{fs, os::unix::fs::FileExt, path::Path};

use crate::storage::{
    AcidStorage, Change, Fork, Inherited, Life, ProducerState, Progress, Retention, Storage, StorageError,
    StreamRecord, WriterState,
    contract::{append, name, producer, put, record, scratch, writer},
    index, journal,
};

fn acid(dir: &Path) -> AcidStorage {
    AcidStorage::open(dir, 1 << 20).unwrap()
}

#[test]
fn newer_formats_are_refused_by_their_number() {
    let dir = scratch();
    drop(acid(dir.path()));
    let journal = fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join(journal::FILE_NAMES[0]))
        .unwrap();
    journal.write_all_at(&7u64.to_le_bytes(), 16).unwrap();
    let error = AcidStorage::open(dir.path(), 0).unwrap_err();
    assert!(
        matches!(error, StorageError::NewerFormat { found: 7, supported: 2 }),
        "{error}"
    );

    let dir = scratch();
    drop(acid(dir.path()));
    index::testing::set_format(&dir.path().join(index::FILE_NAME), 4);
    let error = AcidStorage::open(dir.path(), 0).unwrap_err();
    assert!(
        matches!(error, StorageError::NewerFormat { found: 4, supported: 3 }),
        "{error}"
    );
}

#[test]
fn a_legacy_index_is_upgraded() {
    for format in [1, 2] {
        let dir = scratch();
        let index_file = dir.path().join(index::FILE_NAME);
        let store = acid(dir.path());
        let fork = StreamRecord {
            start: 2,
            fork: Some(Box::new(Fork {
                source: name("a"),
                source_id: 1,
                offset: 2,
                sub_offset: 0,
                lineage: vec![Inherited { id: 1, end: 2 }],
            })),
            retention: (format == 2).then(|| Box::new(Retention::default())),
            ..record(2)
        };
        store
            .commit_changes(&[put("a", record(1)), append(1, 0, "old"), put("fork", fork.clone())])
            .unwrap();
        drop(store);
        index::testing::make_legacy(&index_file, format);
        let store = acid(dir.path());
        assert_eq!(&store.read(1, 0..10).unwrap()[..], b"old");
        let found = store.get(&name("fork")).unwrap().unwrap().record;
        // The incarnations of legacy streams are their ids.
        let lives = vec![Life { incarnation: 1, end: 2 }];
        assert_eq!(found, StreamRecord { lives, ..fork });
        drop(store);
        assert_eq!(index::testing::format(&index_file), 3);
    }
}

#[test]
fn legacy_producers_become_writers() {
    for format in [1, 2] {
        let dir = scratch();
        let store = acid(dir.path());
        let state = ProducerState { epoch: 3, seq: 9 };
        let known = |n: u64| producer(1, &format!("p{n}"), state, 5);
        store
            .commit_changes(&[put("a", record(1)), append(1, 0, "old")])
            .unwrap();
        store.commit_changes(&(0..3).map(known).collect::<Vec<_>>()).unwrap();
        store
            .commit_changes(&[put("b", record(2)), producer(2, "p", state, 5)])
            .unwrap();
        drop(store);
        index::testing::make_legacy(&dir.path().join(index::FILE_NAME), format);
        let store = acid(dir.path());
        assert_eq!(&store.read(1, 0..10).unwrap()[..], b"old");
        assert_eq!(store.writers(1).unwrap().len(), 3);
        let taken_over = WriterState {
            progress: Progress::Producer(state),
            used_at: 0,
        };
        assert_eq!(writer(&store, 2, "p"), Some(taken_over));
        drop(store);
        let found = index::testing::format(&dir.path().join(index::FILE_NAME));
        assert_eq!(found, 3);
    }
}

#[test]
fn a_limited_number_of_legacy_producers_is_kept() {
    let dir = scratch();
    let store = acid(dir.path());
    let state = ProducerState { epoch: 0, seq: 0 };
    let all: Vec<Change> = (0..1500).map(|n| producer(1, &format!("p{n}"), state, 5)).collect();
    store.commit_changes(&[put("a", record(1))]).unwrap();
    store.commit_changes(&all).unwrap();
    drop(store);
    index::testing::make_legacy(&dir.path().join(index::FILE_NAME), 2);
    assert_eq!(acid(dir.path()).writers(1).unwrap().len(), 1000);
}

#[test]
fn legacy_names_are_found_under_any_spelling() {
    let dir = scratch();
    let due = crate::storage::StreamRecord {
        due_at: Some(5),
        ..record(2)
    };
    let store = acid(dir.path());
    store
        .commit_changes(&[put("gid://app/1", record(1)), append(1, 0, "one")])
        .unwrap();
    store.commit_changes(&[put("a/b", due), append(2, 0, "two")]).unwrap();
    store
        .commit_changes(&[put("c/d", record(3)), put("c/e", record(4)), append(4, 0, "four")])
        .unwrap();
    drop(store);
    // To the legacy version these were different streams.
    let index_file = dir.path().join(index::FILE_NAME);
    index::testing::make_names_legacy(&index_file, &[("a/b", "a//b"), ("c/e", "c//d")]);
    for _ in 0..2 {
        let store = acid(dir.path());
        let tail = |text: &str| store.get(&name(text)).unwrap().map(|stored| stored.tail);
        assert_eq!(tail("gid:/app/1"), Some(3));
        assert_eq!((tail("a/b"), tail("a///b")), (Some(3), Some(3)));
        assert_eq!((tail("c/d"), tail("c/d~4")), (Some(0), Some(4)), "both are kept");
        assert_eq!(store.due(5, 10).unwrap(), [name("a/b")]);
        let listed = store.list("", None, 10).unwrap();
        let listed: Vec<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(listed, ["a//b", "c/d", "c/d~4", "gid://app/1"]);
        drop(store);
    }
}

#[test]
fn files_that_are_not_ours_are_refused() {
    for file in [index::FILE_NAME].into_iter().chain(journal::FILE_NAMES) {
        let dir = scratch();
        drop(acid(dir.path()));
        fs::write(dir.path().join(file), vec![b'x'; 100_000]).unwrap();
        let error = AcidStorage::open(dir.path(), 0).unwrap_err();
        assert!(error.into_damage().is_ok(), "{file}");
    }
}

#[test]
fn a_lost_journal_or_index_is_noticed() {
    for file in [index::FILE_NAME].into_iter().chain(journal::FILE_NAMES) {
        let dir = scratch();
        let store = acid(dir.path());
        for round in 0..3u64 {
            store
                .commit_changes(&[put("a", record(1)), append(1, 3 * round, "abc")])
                .unwrap();
        }
        drop(store);
        let store = acid(dir.path());
        store.commit_changes(&[append(1, 9, "more")]).unwrap();
        drop(store);
        fs::remove_file(dir.path().join(file)).unwrap();
        let error = AcidStorage::open(dir.path(), 0).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt(_)), "{file}: {error:?}");
    }
}
