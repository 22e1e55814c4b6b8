//! On a real file system.

use std::{
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::storage::{
    Change, CommitError, Fork, Inherited, Life, ProducerState, Progress, Retention, Storage, StorageError,
    StreamRecord, WriterState,
    acid::AcidStorage,
    contract::{CommitChanges, Driver, Model, append, name, producer, put, record, remove, scratch, writer},
    file::FileStorage,
    journaled::{JournaledStore, Options, base, disk::Directory, journal},
};

fn acid(dir: &Path) -> AcidStorage {
    AcidStorage::open(dir, 1 << 20).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a killed process leaves: its files as they are.
#[test]
fn a_store_that_was_never_closed_opens_with_everything() {
    let dir = scratch();
    let store = FileStorage::open(&dir.path().join("live"), false, 3).unwrap();
    let mut driver = Driver::new(3);
    let mut model = Model::default();
    for round in 0..6 {
        for _ in 0..40 {
            store.commit_changes(&driver.batch(&mut model, 90_000)).unwrap();
        }
        store.maintain().unwrap();
        let killed = dir.path().join(format!("killed-{round}"));
        copy(&dir.path().join("live"), &killed);
        let opened = FileStorage::open(&killed, false, 3).unwrap();
        model.compare(&opened).unwrap();
    }
}

#[test]
fn the_modes_open_each_others_directories() {
    let dir = scratch();
    let mut driver = Driver::new(8);
    let mut model = Model::default();
    for round in 0..6 {
        let store: Box<dyn Storage> = match round % 3 {
            0 => Box::new(FileStorage::open(dir.path(), true, 3).unwrap()),
            1 => Box::new(acid(dir.path())),
            _ => Box::new(FileStorage::open(dir.path(), false, 3).unwrap()),
        };
        model.compare(&*store).unwrap();
        for _ in 0..30 {
            store.commit_changes(&driver.batch(&mut model, 90_000)).unwrap();
        }
        model.compare(&*store).unwrap();
    }
}

#[test]
fn a_large_stream_has_a_file_and_a_removed_one_has_none() {
    let dir = scratch();
    let store = FileStorage::open(dir.path(), true, 3).unwrap();
    let file = dir.path().join("data/01/0000000000000001");
    let mut tail = 0;
    store
        .commit_changes(&[put("small", record(2)), append(2, 0, "x")])
        .unwrap();
    store.commit_changes(&[put("large", record(1))]).unwrap();
    for _ in 0..30 {
        store.commit_changes(&[append(1, tail, vec![7; 200_000])]).unwrap();
        tail += 200_000;
    }
    assert!(file.exists());
    assert!(!dir.path().join("data/02").exists());
    drop(store);
    assert_eq!(fs::metadata(&file).unwrap().len(), tail);
    let store = FileStorage::open(dir.path(), true, 3).unwrap();
    assert_eq!(store.get(&name("large")).unwrap().unwrap().tail, tail);
    let read = store.read(1, tail - 300_000..tail).unwrap();
    assert!(read.len() == 300_000 && read.iter().all(|byte| *byte == 7));
    store.commit_changes(&[remove("large", 1)]).unwrap();
    while store.maintain().unwrap() {}
    assert!(!file.exists());
    assert_eq!(store.read(2, 0..9).unwrap(), "x");
}

#[test]
fn space_comes_back_after_churn() {
    let dir = scratch();
    let store = acid(dir.path());
    let mut id = 1u64;
    let mut sizes = Vec::new();
    for _ in 0..12 {
        let first = id;
        for _ in 0..40 {
            let text = format!("s{id}");
            store
                .commit_changes(&[put(&text, record(id)), append(id, 0, vec![1; 100_000])])
                .unwrap();
            id += 1;
        }
        for id in first..id {
            store.commit_changes(&[remove(&format!("s{id}"), id)]).unwrap();
        }
        while store.maintain().unwrap() {}
        sizes.push(fs::metadata(dir.path().join(base::FILE_NAME)).unwrap().len());
    }
    assert!(sizes[11] <= sizes[3], "{sizes:?}");
    assert_eq!(store.usage().bytes, 0);
}

#[test]
fn newer_formats_are_refused_by_their_number() {
    let dir = scratch();
    drop(acid(dir.path()));
    let journal = fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join(journal::FILE_NAME))
        .unwrap();
    journal.write_all_at(&7u64.to_le_bytes(), 16).unwrap();
    let error = AcidStorage::open(dir.path(), 0).unwrap_err();
    assert!(
        matches!(error, StorageError::NewerFormat { found: 7, supported: 1 }),
        "{error}"
    );

    let dir = scratch();
    drop(acid(dir.path()));
    base::set_format(&dir.path().join(base::FILE_NAME), 4);
    let error = AcidStorage::open(dir.path(), 0).unwrap_err();
    assert!(
        matches!(error, StorageError::NewerFormat { found: 4, supported: 3 }),
        "{error}"
    );
}

#[test]
fn an_index_of_an_earlier_format_is_taken_over() {
    for format in [1, 2] {
        let dir = scratch();
        let index = dir.path().join(base::FILE_NAME);
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
        base::make_earlier(&index, format);
        let store = acid(dir.path());
        assert_eq!(&store.read(1, 0..10).unwrap()[..], b"old");
        let found = store.get(&name("fork")).unwrap().unwrap().record;
        // Streams of then have their ids for incarnations.
        let lives = vec![Life { incarnation: 1, end: 2 }];
        assert_eq!(found, StreamRecord { lives, ..fork });
        drop(store);
        assert_eq!(base::format(&index), 3);
    }
}

#[test]
fn producers_of_an_earlier_format_are_taken_over() {
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
        base::make_earlier(&dir.path().join(base::FILE_NAME), format);
        let store = acid(dir.path());
        assert_eq!(&store.read(1, 0..10).unwrap()[..], b"old");
        assert_eq!(store.writers(1).unwrap().len(), 3);
        let taken_over = WriterState {
            progress: Progress::Producer(state),
            used_at: 0,
        };
        assert_eq!(writer(&store, 2, "p"), Some(taken_over));
        drop(store);
        let found = base::format(&dir.path().join(base::FILE_NAME));
        assert_eq!(found, 3);
    }
}

#[test]
fn of_very_many_producers_of_an_earlier_format_some_are_taken_over() {
    let dir = scratch();
    let store = acid(dir.path());
    let state = ProducerState { epoch: 0, seq: 0 };
    let all: Vec<Change> = (0..1500).map(|n| producer(1, &format!("p{n}"), state, 5)).collect();
    store.commit_changes(&[put("a", record(1))]).unwrap();
    store.commit_changes(&all).unwrap();
    drop(store);
    base::make_earlier(&dir.path().join(base::FILE_NAME), 2);
    assert_eq!(acid(dir.path()).writers(1).unwrap().len(), 1000);
}

#[test]
fn names_of_a_former_version_are_found_by_any_spelling() {
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
    // To the former version these were different streams.
    let index = dir.path().join(base::FILE_NAME);
    base::make_former(&index, &[("a/b", "a//b"), ("c/e", "c//d")]);
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
    for file in [base::FILE_NAME, journal::FILE_NAME] {
        let dir = scratch();
        drop(acid(dir.path()));
        fs::write(dir.path().join(file), vec![b'x'; 100_000]).unwrap();
        let error = AcidStorage::open(dir.path(), 0).unwrap_err();
        assert!(matches!(error, StorageError::Corrupt(_)), "{file}: {error:?}");
    }
}

#[test]
fn a_lost_journal_or_index_is_noticed() {
    for file in [base::FILE_NAME, journal::FILE_NAME] {
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

#[test]
fn what_cannot_be_opened_says_why() {
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let text = AcidStorage::open(&file.join("below"), 0).unwrap_err().to_string();
    assert!(
        text.starts_with("creating ") && text.contains("Not a directory"),
        "{text}"
    );
}

const VICTIM: &str = "DS_TEST_COMMIT_INTO";

fn victim_store(dir: &Path, round: u64) -> Box<dyn Storage> {
    match round % 3 {
        0 => Box::new(acid(dir)),
        1 => Box::new(FileStorage::open(dir, true, 4).unwrap()),
        _ => Box::new(FileStorage::open(dir, false, 4).unwrap()),
    }
}

/// Not a test by itself: the process that [`killed_processes_lose_nothing`] kills. Says after
/// each commit how far its streams are.
#[test]
fn commit_until_killed() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let round = std::env::var("DS_TEST_ROUND").unwrap().parse().unwrap();
    let store = victim_store(Path::new(&dir), round);
    let told = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(Path::new(&dir).join("told"))
        .unwrap();
    let pattern = pattern(251 + 8_200);
    let mut tails = [0u64; 9];
    for id in 1..9u64 {
        match store.get(&name(&format!("s{id}"))).unwrap() {
            Some(stored) => tails[id as usize] = stored.tail,
            None => store.commit_changes(&[put(&format!("s{id}"), record(id))]).unwrap(),
        }
    }
    for turn in 0u64.. {
        let mut batch = Vec::new();
        let mut line = String::new();
        for id in (1..9).filter(|id| (id + turn) % 3 != 0) {
            let len = 200 + (turn * 977 + id) % 8_000;
            let tail = &mut tails[id as usize];
            let from = (*tail % 251) as usize;
            batch.push(append(id, *tail, &pattern[from..from + len as usize]));
            *tail += len;
            line += &format!("{id}:{tail} ");
        }
        store.commit_changes(&batch).unwrap();
        (&told).write_all(format!("{line}\n").as_bytes()).unwrap();
        if turn % 50 == 0 {
            store.maintain().unwrap();
        }
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..251u8).cycle().take(len).collect()
}

#[test]
fn killed_processes_lose_nothing() {
    let dir = scratch();
    let told = dir.path().join("told");
    for round in 0..9u64 {
        let before = fs::metadata(&told).map_or(0, |data| data.len());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storage::journaled::tests::real::commit_until_killed"])
            .env(VICTIM, dir.path())
            .env("DS_TEST_ROUND", round.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // A few hundred commits, then at any moment.
        let enough = before + 2_000 + round * 777;
        while fs::metadata(&told).map_or(0, |data| data.len()) < enough {
            assert!(
                child.try_wait().unwrap().is_none(),
                "it ended by itself in round {round}"
            );
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut acknowledged = [0u64; 9];
        for line in fs::read_to_string(&told).unwrap().lines() {
            for entry in line.split_whitespace() {
                if let Some((Ok(id), Ok(tail))) = entry.split_once(':').map(|(id, tail)| (id.parse(), tail.parse())) {
                    let id: usize = id;
                    acknowledged[id] = acknowledged[id].max(tail);
                }
            }
        }
        let store = victim_store(dir.path(), round + 1);
        for id in 1..9u64 {
            let tail = store.get(&name(&format!("s{id}"))).unwrap().unwrap().tail;
            assert!(tail >= acknowledged[id as usize], "stream {id} in round {round}");
            let read = store.read(id, 0..tail).unwrap();
            assert!(read == pattern(tail as usize));
        }
    }
}

/// On a small file system of its own, such as `mount -t tmpfs -o size=6m`; its path in
/// `DS_TEST_SMALL_DISK`. It is filled, emptied and filled again.
#[test]
fn a_small_disk_fills_up_and_is_freed() {
    let Some(disk) = std::env::var_os("DS_TEST_SMALL_DISK") else {
        return;
    };
    let disk = Path::new(&disk);
    for mode in 0..3 {
        let dir = disk.join(format!("mode-{mode}"));
        let store = victim_store(&dir, mode);
        for round in 0..4u64 {
            let mut tails = Vec::new();
            for slot in 0..4u64 {
                let id = 10 * round + slot + 1;
                store.commit_changes(&[put(&format!("s{slot}"), record(id))]).unwrap();
                tails.push((id, 0));
            }
            let mut refused = 0;
            for turn in 0..10_000 {
                let (id, tail) = &mut tails[turn % 4];
                match store.commit_changes(&[append(*id, *tail, vec![*id as u8; 3000])]) {
                    Ok(()) => *tail += 3000,
                    Err(CommitError::Full(_)) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                if refused > 10 {
                    break;
                }
            }
            assert!(refused > 10);
            let total: u64 = tails.iter().map(|(_, tail)| tail).sum();
            println!("mode {mode}, round {round}: {total} bytes fit");
            for (slot, (id, tail)) in tails.iter().enumerate() {
                let read = store.read(*id, 0..*tail).unwrap();
                assert!(read.len() as u64 == *tail && read.iter().all(|byte| byte == &(*id as u8)));
                store.commit_changes(&[remove(&format!("s{slot}"), *id)]).unwrap();
            }
            while store.maintain().unwrap() {}
        }
        drop(store);
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// Neither start looks at the streams. (The figure is for a release build on an idle machine;
/// what is tested is that the start does not grow with them.)
#[test]
fn many_streams_open_at_once() {
    let dir = scratch();
    let options = || Options {
        sync: false,
        ..Options::default()
    };
    let open = |path: &Path| {
        let started = started();
        let disk = Arc::new(Directory::create(path).unwrap());
        (JournaledStore::open(disk, options()).unwrap(), started.elapsed())
    };
    let live = dir.path().join("live");
    let (store, _) = open(&live);
    for chunk in 0..20u64 {
        let ids = chunk * 1000 + 1..=chunk * 1000 + 1000;
        let batch: Vec<Change> = ids
            .flat_map(|id| {
                [
                    put(&format!("gid://app/Room/{id}"), record(id)),
                    append(id, 0, [b'x'; 300]),
                ]
            })
            .collect();
        store.commit(&batch).unwrap();
    }
    let killed = dir.path().join("killed");
    copy(&live, &killed);
    drop(store);
    let (store, took) = open(&live);
    assert_eq!(store.usage().streams, 20_000);
    assert!(took < Duration::from_secs(1), "after a stop: {took:?}");
    let (store, took) = open(&killed);
    assert_eq!(store.usage().streams, 20_000);
    assert!(took < Duration::from_secs(3), "after a kill: {took:?}");
}

#[allow(clippy::disallowed_methods)]
fn started() -> Instant {
    Instant::now()
}

/// More than stays in the index.
const LARGE: usize = 100_000;

#[test]
fn bytes_lost_under_a_running_store_are_not_filled_with_zeros() {
    let dir = scratch();
    let open = || FileStorage::open(dir.path(), true, 4).unwrap();
    let large = vec![b'x'; LARGE];
    let store = open();
    store
        .commit_changes(&[put("a", record(1)), append(1, 0, &large), put("b", record(2))])
        .unwrap();
    drop(store);
    let store = open();
    let at = LARGE as u64;
    store.commit_changes(&[append(1, at, "acknowledged")]).unwrap();
    let file = dir.path().join("data/01/0000000000000001");
    let truncated = fs::OpenOptions::new().write(true).open(&file).unwrap();
    truncated.set_len(at - 1000).unwrap();
    // Until the next checkpoint nobody looks again.
    store.commit_changes(&[append(1, at + 12, " too")]).unwrap();
    drop(store);
    for _ in 0..2 {
        let store = open();
        let refused = store.commit_changes(&[append(2, 0, "b"), append(1, at + 16, "more")]);
        assert!(
            matches!(refused, Err(CommitError::Damaged { id: 1, .. })),
            "{refused:?}"
        );
        assert!(store.read(2, 0..10).unwrap().is_empty());
        for lost in [0..at, at - 1001..at - 999, at - 1..at + 5] {
            let read = store.read(1, lost.clone());
            assert!(matches!(read, Err(StorageError::Corrupt(_))), "{lost:?}: {read:?}");
        }
        assert_eq!(store.read(1, 0..at - 1000).unwrap().len(), LARGE - 1000);
        assert_eq!(&store.read(1, at..at + 100).unwrap()[..], b"acknowledged too");
    }
    let inspected = JournaledStore::open(Arc::new(Directory::existing(dir.path())), Options::default()).unwrap();
    let problems = inspected.inspect().unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("has lost the bytes from 99000 to 100000"),
        "{problems:?}"
    );
    drop(inspected);
    let store = open();
    store.commit_changes(&[remove("a", 1), append(2, 0, "b")]).unwrap();
    while store.maintain().unwrap() {}
    drop(store);
    let inspected = JournaledStore::open(Arc::new(Directory::existing(dir.path())), Options::default()).unwrap();
    assert_eq!(inspected.inspect().unwrap().problems, Vec::<String>::new());
}
