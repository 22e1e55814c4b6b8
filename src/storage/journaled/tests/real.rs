//! Stores on a real file system.

use crate::storage::contract::CommitChanges;
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::Clock,
    storage::{
        AcidStorage, Change, CommitError, FileStorage, Storage, StorageError,
        contract::{Driver, Model, append, name, put, record, remove, scratch},
        disk::Directory,
        index,
        journaled::{JournaledStore, Options},
    },
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

/// Copies the files of an open store, as a killed process leaves them.
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
    while store.maintain().unwrap() {}
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
        sizes.push(fs::metadata(dir.path().join(index::FILE_NAME)).unwrap().len());
    }
    assert!(sizes[11] <= sizes[3], "{sizes:?}");
    assert_eq!(store.usage().bytes, 0);
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

/// Not a test by itself: the process that [`killed_processes_lose_nothing`] kills. It reports the
/// tails of its streams after each commit.
#[test]
fn commit_until_killed() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let round = std::env::var("DS_TEST_ROUND").unwrap().parse().unwrap();
    let store: Arc<dyn Storage> = victim_store(Path::new(&dir), round).into();
    let maintained = Arc::clone(&store);
    std::thread::spawn(move || {
        loop {
            maintained.maintain().unwrap();
            std::thread::yield_now();
        }
    });
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
        // After a few hundred commits, at an arbitrary moment.
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

/// Fills, empties and fills a small file system, such as `mount -t tmpfs -o size=6m`, whose path is
/// in `DS_TEST_SMALL_DISK`.
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

/// A start does not depend on the number of streams. (The figure is for a release build on an idle
/// machine.)
#[test]
fn many_streams_open_at_once() {
    let dir = scratch();
    let options = || Options {
        sync: false,
        ..Options::default()
    };
    let open = |path: &Path| {
        let started = Clock::system().instant();
        let disk = Arc::new(Directory::create(path).unwrap());
        (
            JournaledStore::open(disk, options()).unwrap(),
            Clock::system().instant() - started,
        )
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

/// Larger than what stays in the index.
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
    // It is not checked again before the next checkpoint.
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
