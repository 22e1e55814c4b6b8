//! Disk faults, by seed.
//!
//! `DS_FAULT_SEED=17 cargo test --lib storage::journaled` replays one seed, `DS_FAULT_RUNS=5000` runs
//! that many.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    Simulated,
    sim::{Faults, SimDisk},
};
use crate::{
    protocol::StreamName,
    random::Random,
    storage::{
        CommitError, Position, Retention, Storage, StorageError, StreamId, StreamRecord,
        contract::{Driver, Model, append, put, record, remove},
        disk::Disk,
        journal,
        journaled::{JournaledStore, Options},
    },
};

/// Small sizes, so that a short run reaches every case.
fn options(seed: u64) -> Options {
    Options {
        sync: true,
        min_data_file: (!seed.is_multiple_of(3)).then_some(3000),
        max_open_files: 2,
        cache_bytes: 256 * 1024,
        checkpoint_bytes: 24 * 1024,
        random: Random::seeded(seed),
        ..Options::default()
    }
}

fn open(disk: &SimDisk, options: &Options) -> Result<Simulated, StorageError> {
    JournaledStore::open(Arc::new(disk.clone()), options.clone()).map(Simulated)
}

/// Runs `test` for many seeds, or for `DS_FAULT_SEED`.
fn for_seeds(default_runs: u64, test: impl Fn(u64)) {
    let number = |key: &str| std::env::var(key).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("DS_FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DS_FAULT_RUNS").unwrap_or(default_runs),
    };
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| test(seed))).is_err() {
            panic!("failed with DS_FAULT_SEED={seed}");
        }
    }
}

/// The states that may be found after a crash: everything acknowledged, with or without the batch
/// that was in flight or failed last.
struct Expected {
    acknowledged: Model,
    perhaps: Option<Model>,
    ids: u64,
}

impl Expected {
    fn settle(&mut self, store: &Simulated, disk: &SimDisk) {
        let Err(wrong) = self.acknowledged.compare(store) else {
            self.perhaps = None;
            return;
        };
        if disk.is_down() {
            return;
        }
        let Some(perhaps) = self.perhaps.take() else {
            panic!("{wrong}")
        };
        if let Err(other) = perhaps.compare(store) {
            panic!("neither without the last batch: {wrong}; nor with it: {other}");
        }
        self.acknowledged = perhaps;
    }

    fn act(&mut self, store: &Simulated, driver: &mut Driver) {
        match driver.below(12) {
            0 => {
                let _ = store.maintain();
            }
            1 => {
                if let Ok(first) = store.reserve_ids(10, 0) {
                    assert!(first >= self.ids, "ids from {first} on were handed out before");
                    self.ids = first + 10;
                }
            }
            _ => {
                let mut next = self.acknowledged.clone();
                let batch = driver.batch(&mut next, 4000);
                match store.commit(&batch) {
                    Ok(()) => {
                        self.acknowledged = next;
                        self.perhaps = None;
                    }
                    Err(_) => self.perhaps = Some(next),
                }
            }
        }
    }
}

/// Power failures at arbitrary moments, including during recovery.
#[test]
fn a_power_failure_loses_nothing_that_was_acknowledged() {
    for_seeds(10, |seed| {
        let disk = SimDisk::new(seed);
        let options = options(seed);
        let mut driver = Driver::new(seed);
        let mut expected = Expected {
            acknowledged: Model::default(),
            perhaps: None,
            ids: 0,
        };
        for _ in 0..8 {
            let moment = driver.below(150);
            disk.cut_power_after(moment);
            if let Ok(store) = open(&disk, &options) {
                if !disk.is_down() {
                    expected.settle(&store, &disk);
                }
                while !disk.is_down() {
                    expected.act(&store, &mut driver);
                }
            }
            disk.reboot();
        }
        let store = open(&disk, &options).unwrap();
        expected.settle(&store, &disk);
        while store.maintain().unwrap() {}
        expected.settle(&store, &disk);
    });
}

/// A disk that fails from time to time: acknowledged batches are there, failed ones are not, and the
/// store works again afterwards.
#[test]
fn a_failing_disk_is_reported_and_survived() {
    for_seeds(10, |seed| {
        let disk = SimDisk::new(seed);
        let options = options(seed);
        let mut driver = Driver::new(seed);
        let mut expected = Expected {
            acknowledged: Model::default(),
            perhaps: None,
            ids: 0,
        };
        for round in 0..6u64 {
            let store = open(&disk, &options).unwrap();
            expected.settle(&store, &disk);
            disk.set_faults(match (seed + round) % 4 {
                0 => Faults {
                    sync: 6,
                    ..Faults::default()
                },
                1 => Faults {
                    write: 9,
                    ..Faults::default()
                },
                2 => Faults {
                    full: 7,
                    ..Faults::default()
                },
                _ => Faults {
                    write: 40,
                    full: 40,
                    sync: 20,
                    read: 60,
                    ..Faults::default()
                },
            });
            for _ in 0..25 {
                expected.act(&store, &mut driver);
            }
            if round % 2 == 0 {
                disk.set_faults(Faults::default());
                let wrong = expected.acknowledged.compare(&store).err();
                assert_eq!(wrong, None, "a failed commit shows");
                expected.perhaps = None;
                expected.act(&store, &mut driver);
                assert!(expected.perhaps.is_none(), "it does not recover");
            } else {
                let moment = driver.below(40);
                disk.cut_power_after(moment);
                while !disk.is_down() {
                    expected.act(&store, &mut driver);
                }
            }
            drop(store);
            if round % 2 == 0 {
                disk.cut_power_after(0);
            }
            disk.reboot();
        }
        let store = open(&disk, &options).unwrap();
        expected.settle(&store, &disk);
    });
}

/// A disk that only pretends to sync may lose anything. The store then opens in a state that it once
/// had, or is refused as damaged.
#[test]
fn a_disk_that_ignores_syncs_leaves_an_earlier_state_or_is_refused() {
    for_seeds(8, |seed| {
        let disk = SimDisk::new(seed);
        let options = options(seed);
        let mut driver = Driver::new(seed);
        let mut model = Model::default();
        let mut states = vec![model.clone()];
        let store = open(&disk, &options).unwrap();
        for step in 0..60 {
            if step == 20 {
                disk.set_faults(Faults {
                    lying: true,
                    ..Faults::default()
                });
            }
            let batch = driver.batch(&mut model, 2000);
            store.commit(&batch).unwrap();
            states.push(model.clone());
        }
        disk.cut_power_after(0);
        drop(store);
        disk.reboot();
        // redb may panic on such a file.
        let found = catch_unwind(AssertUnwindSafe(|| match open(&disk, &options) {
            Err(StorageError::Io { .. } | StorageError::Corrupt(_) | StorageError::Malformed { .. }) => true,
            Err(other) => panic!("{other}"),
            Ok(store) => {
                let found = states.iter().any(|state| state.compare(&store).is_ok());
                disk.cut_power_after(0);
                found
            }
        }));
        assert!(found.unwrap_or(true), "a state that never was");
    });
}

/// A flipped bit is refused, unless it is in the last record or in unused bytes.
#[test]
fn a_flipped_bit_in_the_journal_is_detected() {
    for_seeds(3, |seed| {
        let disk = SimDisk::new(seed);
        let options = Options {
            checkpoint_bytes: 1 << 20,
            ..options(seed)
        };
        let mut driver = Driver::new(seed);
        let mut model = Model::default();
        let mut states = vec![model.clone()];
        let store = open(&disk, &options).unwrap();
        let mut ends = vec![0];
        for _ in 0..12 {
            store.commit(&driver.batch(&mut model, 400)).unwrap();
            states.push(model.clone());
            ends.push(4096 + store.0.writer.lock().journal.len() as usize);
        }
        disk.cut_power_after(0);
        drop(store);
        let written = disk.contents(journal::FILE_NAME);
        let (last_begins, end) = (ends[ends.len() - 2], ends[ends.len() - 1]);
        for _ in 0..40 {
            disk.reboot();
            let offset = driver.below(end as u64 + 50) as usize;
            let bit = driver.below(8) as u8;
            disk.flip_bit(journal::FILE_NAME, offset, bit);
            let opened = open(&disk, &options);
            let found = match &opened {
                Ok(store) => states.iter().position(|state| state.compare(store).is_ok()),
                Err(_) => None,
            };
            let head_or_padding = (36..4096).contains(&offset) || offset >= end;
            match (opened.is_ok(), found) {
                (false, _) => assert!(!head_or_padding && offset < last_begins, "refused for byte {offset}"),
                (true, Some(state)) if head_or_padding => assert_eq!(state, states.len() - 1),
                (true, Some(state)) => {
                    assert!(
                        offset >= last_begins && state == states.len() - 2,
                        "byte {offset}, state {state}"
                    );
                }
                (true, None) => panic!("byte {offset}: half a state"),
            }
            disk.cut_power_after(0);
            drop(opened);
            disk.reboot();
            let handle = disk.open(journal::FILE_NAME).unwrap();
            handle.write_at(&mut [std::io::IoSlice::new(&written)], 0).unwrap();
            handle.sync().unwrap();
        }
    });
}

/// A disk that fills up, has space again, and fills up again.
#[test]
fn a_full_disk_is_survived() {
    for_seeds(4, |seed| {
        let disk = SimDisk::new(seed);
        let mut driver = Driver::new(seed);
        let mut store = open(&disk, &options(seed)).unwrap();
        disk.set_capacity(disk.used() + 3 * 1024 * 1024);
        let mut next_id = 1;
        let mut streams: Vec<(String, StreamId, u64)> = Vec::new();
        for round in 0..4 {
            while streams.len() < 5 {
                let text = format!("stream/{next_id}");
                store.commit(&[put(&text, record(next_id))]).unwrap();
                streams.push((text, next_id, 0));
                next_id += 1;
            }
            let mut refused = 0;
            for _ in 0..2000 {
                let (_, id, tail) = &mut streams[driver.below(5) as usize];
                match store.commit(&[append(*id, *tail, vec![*id as u8; 5000])]) {
                    Ok(()) => *tail += 5000,
                    Err(CommitError::Full(_)) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
                if refused > 20 {
                    break;
                }
            }
            assert!(refused > 20, "it was never full: {streams:?}, {} used", disk.used());
            for (text, id, tail) in &streams {
                assert_eq!(store.get(&StreamName::new(text).unwrap()).unwrap().unwrap().tail, *tail);
                let read = store.read(*id, 0..*tail).unwrap();
                assert!(read.len() as u64 == *tail && read.iter().all(|byte| *byte == *id as u8));
            }
            // Space again: by deleting streams, or from outside.
            if round == 1 {
                disk.set_capacity(disk.used() + 3 * 1024 * 1024);
            } else {
                for (text, id, _) in streams.drain(..2) {
                    store.commit(&[remove(&text, id)]).unwrap();
                }
                while store.maintain().unwrap() {}
                // Free space inside the index survives a restart.
                drop(store);
                store = open(&disk, &options(seed)).unwrap();
            }
            let (_, id, tail) = &mut streams[0];
            for _ in 0..5 {
                store.commit(&[append(*id, *tail, vec![*id as u8; 5000])]).unwrap();
                *tail += 5000;
                assert_eq!(store.read(*id, *tail - 4..*tail).unwrap(), vec![*id as u8; 4]);
            }
        }
    });
}

#[test]
fn trimming_makes_space_on_a_full_disk() {
    for_seeds(6, |seed| {
        let disk = SimDisk::new(seed);
        let store = open(&disk, &options(seed)).unwrap();
        disk.set_capacity(disk.used() + 3 * 1024 * 1024);
        store.commit(&[put("a", record(1))]).unwrap();
        let mut tail = 0;
        for _ in 0..3 {
            while let Ok(()) = store.commit(&[append(1, tail, vec![7; 5000])]) {
                tail += 5000;
            }
            store.commit(&[put("a", kept_from(tail - 5000))]).unwrap();
            while store.maintain().unwrap() {}
            store.commit(&[append(1, tail, vec![7; 5000])]).unwrap();
            tail += 5000;
            let kept = store.read(1, tail - 10_000..tail).unwrap();
            assert!(kept.len() == 10_000 && kept.iter().all(|byte| *byte == 7));
        }
    });
}

/// A record that is trimmed below a position.
fn kept_from(position: Position) -> StreamRecord {
    let past = Retention {
        earliest: position,
        given_up: position,
        ..Retention::default()
    };
    StreamRecord {
        retention: Some(Box::new(past)),
        ..record(1)
    }
}

/// A directory turns read-only: everything can be read, nothing is written, and writes work again
/// once it is writable.
#[test]
fn a_read_only_disk_can_be_read() {
    for_seeds(4, |seed| {
        let disk = SimDisk::new(seed);
        let options = options(seed);
        let mut driver = Driver::new(seed);
        let mut model = Model::default();
        let store = open(&disk, &options).unwrap();
        for round in 0..3 {
            for _ in 0..60 {
                store.commit(&driver.batch(&mut model, 4000)).unwrap();
            }
            disk.set_faults(Faults {
                read_only: true,
                ..Faults::default()
            });
            for _ in 0..5 {
                let error = store.commit(&driver.batch(&mut model.clone(), 4000)).unwrap_err();
                assert!(
                    matches!(error, CommitError::Storage(StorageError::Io { .. })),
                    "{error}"
                );
                let _ = store.maintain();
                assert_eq!(model.compare(&store).err(), None, "in round {round}");
            }
            disk.set_faults(Faults::default());
        }
        drop(store);
        model.compare(&open(&disk, &options).unwrap()).unwrap();
    });
}
