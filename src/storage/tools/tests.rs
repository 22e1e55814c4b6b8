use crate::storage::contract::CommitChanges;
use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::protocol::{Framing, frame};
use crate::storage::{
    AcidStorage, FileStorage, Retention, Storage, StreamRecord,
    contract::{Driver, Model, append, name, put, record, scratch},
    lock,
};

/// Never cancels a copy.
fn never_cancel(_: &StoreReport) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else if !path.ends_with(lock::LOCK_FILE) {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

fn fill(store: &dyn Storage, seed: u64, batches: usize) -> Model {
    let mut driver = Driver::new(seed);
    let mut model = Model::default();
    store.reserve_ids(10_000, 0).unwrap();
    for _ in 0..batches {
        store.commit_changes(&driver.batch(&mut model, 90_000)).unwrap();
    }
    model
}

#[test]
fn an_intact_directory_passes_the_check_unchanged() {
    let dir = scratch();
    let store = FileStorage::open(dir.path(), false, 4).unwrap();
    let model = fill(&store, 1, 120);
    // Stopped in the middle: there is something in the journal.
    let killed = scratch();
    let before = files_below(dir.path());
    for (path, content) in &before {
        let target = killed.path().join(path.strip_prefix(dir.path()).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, content).unwrap();
    }
    drop(store);
    for dir in [dir.path(), killed.path()] {
        let before = files_below(dir);
        let lock = DirLock::acquire(dir).unwrap();
        let report = check(&lock).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        assert_eq!(report.streams, model.streams.len() as u64);
        assert!(files_below(dir) == before);
    }
}

#[test]
fn a_copy_in_another_layout_is_the_same() {
    let dir = scratch();
    let store = FileStorage::open(&dir.path().join("from"), true, 4).unwrap();
    let model = fill(&store, 2, 150);
    let ids = store.reserve_ids(1, 0).unwrap();
    drop(store);
    let lock = DirLock::acquire(&dir.path().join("from")).unwrap();
    for layout in [Layout::Index, Layout::DataFiles] {
        let to = dir.path().join(format!("{layout:?}"));
        let report = migrate(&lock, &to, layout, &mut never_cancel).unwrap();
        assert_eq!(report.streams, model.streams.len() as u64);
        assert_eq!(to.join("data").exists(), layout == Layout::DataFiles);
        let copy = AcidStorage::open(&to, 1 << 20).unwrap();
        model.compare(&copy).unwrap();
        assert!(copy.reserve_ids(1, 0).unwrap() > ids);
        assert!(
            migrate(&lock, &to, layout, &mut never_cancel).is_err(),
            "the target has something"
        );
    }
}

#[test]
fn a_backup_during_writes_is_a_consistent_snapshot() {
    let dir = scratch();
    let store = FileStorage::open(&dir.path().join("live"), false, 4).unwrap();
    let mut driver = Driver::new(3);
    let mut model = Model::default();
    for round in 0..3 {
        for _ in 0..60 {
            store.commit_changes(&driver.batch(&mut model, 90_000)).unwrap();
        }
        let to = dir.path().join(format!("backup-{round}"));
        let mut moments = vec![model.clone()];
        let copying_has_ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let copying = scope.spawn(|| store.backup(&to, &mut never_cancel).unwrap());
            scope.spawn(|| {
                while !copying_has_ended.load(Ordering::Relaxed) {
                    store.maintain().unwrap();
                }
            });
            while !copying.is_finished() {
                store.commit_changes(&driver.batch(&mut model, 9_000)).unwrap();
                moments.push(model.clone());
            }
            copying_has_ended.store(true, Ordering::Relaxed);
        });
        let copy = FileStorage::open(&to, true, 4).unwrap();
        assert!(moments.iter().any(|moment| moment.compare(&copy).is_ok()));
        model.compare(&store).unwrap();
    }
}

#[test]
fn damage_is_reported_and_intact_data_is_salvaged() {
    let dir = scratch();
    let from = dir.path().join("from");
    let store = FileStorage::open(&from, true, 4).unwrap();
    for id in 1..4u64 {
        let text = format!("s{id}");
        let bytes = StreamRecord {
            content_type: "application/octet-stream".to_owned(),
            ..record(id)
        };
        store
            .commit_changes(&[put(&text, bytes), append(id, 0, vec![id as u8; 200_000])])
            .unwrap();
    }
    drop(store);
    let cut = fs::OpenOptions::new()
        .write(true)
        .open(from.join("data/01/0000000000000001"))
        .unwrap();
    cut.set_len(50_000).unwrap();
    fs::remove_file(from.join("data/02/0000000000000002")).unwrap();
    fs::write(from.join("data/02/00000000000000aa"), "stray").unwrap();
    let lock = DirLock::acquire(&from).unwrap();
    let problems = check(&lock).unwrap().problems.join("\n");
    for part in [
        "`s1` has 50000 bytes, not 200000",
        "`s2` is missing",
        "00000000000000aa belongs to no stream",
    ] {
        assert!(problems.contains(part), "{problems}");
    }
    assert!(migrate(&lock, &dir.path().join("strict"), Layout::Index, &mut never_cancel).is_err());
    let report = salvage(&lock, &dir.path().join("saved"), Layout::Index, &mut never_cancel).unwrap();
    assert!(report.problems.len() >= 2, "{report:?}");
    let saved = AcidStorage::open(&dir.path().join("saved"), 1 << 20).unwrap();
    assert_eq!(saved.usage().streams, 3);
    assert_eq!(saved.read(1, 0..300_000).unwrap().len(), 50_000);
    assert_eq!(saved.read(3, 0..300_000).unwrap().len(), 200_000);
}

#[test]
fn a_salvaged_stream_ends_with_a_complete_append_and_continues_in_a_new_life() {
    let dir = scratch();
    let from = dir.path().join("from");
    let store = FileStorage::open(&from, true, 4).unwrap();
    let stream = |id, forks| StreamRecord {
        framing: Framing::NEW,
        content_type: "text/plain".to_owned(),
        forks,
        ..record(id)
    };
    let content = vec![b'x'; 999];
    let append_bytes = [frame::header(999).to_vec(), content].concat();
    for (id, forks) in [(1, 0), (2, 1)] {
        let run = append_bytes.repeat(200);
        store
            .commit_changes(&[put(&format!("s{id}"), stream(id, forks)), append(id, 0, &run)])
            .unwrap();
    }
    store.reserve_ids(1, 10).unwrap();
    drop(store);
    for id in [1, 2] {
        let file = from.join(format!("data/0{id}/000000000000000{id}"));
        let file = fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(100_000).unwrap();
    }
    let lock = DirLock::acquire(&from).unwrap();
    salvage(&lock, &dir.path().join("saved"), Layout::DataFiles, &mut never_cancel).unwrap();
    let saved = FileStorage::open(&dir.path().join("saved"), true, 4).unwrap();
    let whole = append_bytes.len() as u64 * (100_000 / append_bytes.len() as u64);
    for (text, id) in [("s1", 1), ("s2", 2)] {
        let stored = saved.get(&name(text)).unwrap().unwrap();
        assert_eq!(stored.tail, whole);
        assert_eq!(stored.record.offset(whole).incarnation, id);
        assert!(stored.record.incarnation() >= 10, "{stored:?}");
        // A fork would read what the stream is given next as what it inherited.
        assert_eq!(stored.record.closed, id == 2);
    }
    assert!(saved.reserve_ids(1, 0).unwrap() > saved.get(&name("s2")).unwrap().unwrap().record.incarnation());
}

#[test]
fn a_salvaged_stream_does_not_begin_after_its_end() {
    let dir = scratch();
    let from = dir.path().join("from");
    let store = FileStorage::open(&from, true, 4).unwrap();
    // Its forks can still read the trimmed bytes.
    let past = Retention {
        earliest: 150_000,
        ..Retention::default()
    };
    let source = StreamRecord {
        forks: 1,
        retention: Some(Box::new(past)),
        ..record(1)
    };
    store
        .commit_changes(&[put("s", source), append(1, 0, vec![b'x'; 200_000])])
        .unwrap();
    drop(store);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(from.join("data/01/0000000000000001"))
        .unwrap();
    file.set_len(50_000).unwrap();
    let lock = DirLock::acquire(&from).unwrap();
    salvage(&lock, &dir.path().join("saved"), Layout::Index, &mut never_cancel).unwrap();
    let saved = AcidStorage::open(&dir.path().join("saved"), 1 << 20).unwrap();
    let stored = saved.list("s", None, 1).unwrap().remove(0).1;
    assert!(stored.record.earliest() <= stored.tail, "{stored:?}");
}

#[test]
fn a_flipped_bit_in_the_index_is_detected() {
    let dir = scratch();
    let store = AcidStorage::open(dir.path(), 1 << 20).unwrap();
    store
        .commit_changes(&[put("a", record(1)), append(1, 0, vec![b'q'; 60_000])])
        .unwrap();
    drop(store);
    let path = dir.path().join(index::FILE_NAME);
    let content = fs::read(&path).unwrap();
    let at = content.windows(64).position(|window| window == [b'q'; 64]).unwrap() + 30_000;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"Q", at as u64).unwrap();
    let lock = DirLock::acquire(dir.path()).unwrap();
    match check(&lock) {
        Ok(report) => assert!(!report.problems.is_empty()),
        Err(error) => assert!(error.into_damage().is_ok()),
    }
}
