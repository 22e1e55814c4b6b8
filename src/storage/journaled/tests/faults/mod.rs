//! Disk faults, by seed.
//!
//! `DS_FAULT_SEED=17 cargo test --lib storage::journaled` replays one seed, `DS_FAULT_RUNS=5000` runs
//! that many.

mod checkpoints;
mod damage;
mod holders;
mod outages;
mod space;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{Simulated, sim::SimDisk};
use crate::{
    random::Random,
    storage::{
        Storage as _, StorageError,
        contract::{CommitChanges as _, Driver, Model},
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
#[derive(Default)]
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
                match store.commit_changes(&batch) {
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
