//! Checkpoints beside commits: what is committed meanwhile, and checkpoints that fail.

use super::{Simulated, for_seeds, open, options};
use crate::storage::{
    Storage as _,
    contract::{CommitChanges as _, Driver, Model},
    journaled::{Options, tests::sim::SimDisk},
};

/// Commits until a table is frozen.
fn freeze(store: &Simulated, driver: &mut Driver, model: &mut Model) {
    while store.0.view.read().frozen.is_none() {
        store.commit_changes(&driver.batch(model, 4000)).unwrap();
        if store.needs_maintenance() {
            assert!(store.maintain().unwrap());
        }
    }
}

/// Lookups, lists and reads put the new table, the frozen one and the index together.
#[test]
fn a_frozen_table_is_read_and_changed_like_the_index() {
    for_seeds(10, |seed| {
        let (disk, options) = (SimDisk::new(seed), options(seed));
        let (mut driver, mut model) = (Driver::new(seed), Model::default());
        let store = open(&disk, &options).unwrap();
        for _ in 0..4 {
            freeze(&store, &mut driver, &mut model);
            for _ in 0..6 {
                store.commit_changes(&driver.batch(&mut model, 1000)).unwrap();
                assert_eq!(model.compare(&store).err(), None);
            }
            assert!(store.0.view.read().frozen.is_some(), "it was written by a batch");
            while store.maintain().unwrap() {}
            assert_eq!(model.compare(&store).err(), None);
        }
        disk.cut_power_after(0);
        drop(store);
        disk.reboot();
        assert_eq!(model.compare(&open(&disk, &options).unwrap()).err(), None);
    });
}

#[test]
fn a_batch_does_not_wait_for_a_checkpoint() {
    let (disk, options) = (SimDisk::new(1), options(1));
    let (mut driver, mut model) = (Driver::new(1), Model::default());
    let store = open(&disk, &options).unwrap();
    freeze(&store, &mut driver, &mut model);
    std::thread::scope(|scope| {
        let held = disk.hold_index_syncs();
        let checkpoint = scope.spawn(|| store.maintain().unwrap());
        for _ in 0..3 {
            store.commit_changes(&driver.batch(&mut model, 1000)).unwrap();
            assert_eq!(model.compare(&store).err(), None);
        }
        assert!(!checkpoint.is_finished());
        drop(held);
    });
    assert!(store.0.view.read().frozen.is_none());
    assert_eq!(model.compare(&store).err(), None);
}

/// The disk fails during a checkpoint, which may have been committed all the same, and for a while
/// afterwards.
#[test]
fn a_checkpoint_that_was_interrupted_is_written_once() {
    for_seeds(6, |seed| {
        for moment in 0.. {
            let (disk, options) = (SimDisk::new(seed), options(seed));
            let (mut driver, mut model) = (Driver::new(seed), Model::default());
            let store = open(&disk, &options).unwrap();
            for _ in 0..2 {
                freeze(&store, &mut driver, &mut model);
                while store.0.view.read().frozen.is_some() {
                    store.maintain().unwrap();
                }
            }
            freeze(&store, &mut driver, &mut model);
            disk.fail_after(moment, 1 + (moment + seed) % 7);
            let mut failures = 0;
            while store.0.view.read().frozen.is_some() {
                failures += u32::from(store.maintain().is_err());
                assert!(failures < 100, "it does not recover");
            }
            let has_failed = disk.has_failed();
            disk.fail_after(0, 0);
            assert_eq!(model.compare(&store).err(), None, "after a failure at {moment}");
            store.commit_changes(&driver.batch(&mut model, 1000)).unwrap();
            drop(store);
            let store = open(&disk, &options).unwrap();
            assert_eq!(
                model.compare(&store).err(),
                None,
                "reopened after a failure at {moment}"
            );
            assert_eq!(store.0.inspect().unwrap().problems, Vec::<String>::new());
            if !has_failed {
                assert!(moment > 5, "it failed at {moment} points only");
                break;
            }
        }
    });
}

/// A killed process leaves what it has written to the operating system.
#[test]
fn what_was_replayed_is_as_durable_as_what_follows() {
    for_seeds(10, |seed| {
        let disk = SimDisk::new(seed);
        let (mut driver, mut model) = (Driver::new(seed), Model::default());
        let first = disk.process();
        let unsynced = Options {
            sync: false,
            ..options(seed)
        };
        let store = open(&first, &unsynced).unwrap();
        freeze(&store, &mut driver, &mut model);
        store.commit_changes(&driver.batch(&mut model, 1000)).unwrap();
        first.kill_after(0);
        drop(store);
        let store = open(&disk.process(), &options(seed)).unwrap();
        store.commit_changes(&driver.batch(&mut model, 1000)).unwrap();
        disk.cut_power_after(0);
        drop(store);
        disk.reboot();
        assert_eq!(model.compare(&open(&disk, &options(seed)).unwrap()).err(), None);
    });
}

/// Without syncs, a power failure leaves a state that once was, not before the last checkpoint, and
/// what is written afterwards is kept.
#[test]
fn a_power_failure_without_syncs_leaves_an_earlier_state() {
    for_seeds(30, |seed| {
        let disk = SimDisk::new(seed);
        let options = Options {
            sync: false,
            ..options(seed)
        };
        let (mut driver, mut model) = (Driver::new(seed), Model::default());
        for _ in 0..6 {
            let store = open(&disk, &options).unwrap();
            let mut states = vec![model.clone()];
            for _ in 0..driver.below(40) {
                store.commit_changes(&driver.batch(&mut model, 4000)).unwrap();
                states.push(model.clone());
                if driver.below(3) == 0 {
                    store.maintain().unwrap();
                }
            }
            disk.cut_power_after(0);
            drop(store);
            disk.reboot();
            let mut store = open(&disk, &options).unwrap();
            model = states
                .into_iter()
                .rev()
                .find(|state| state.compare(&store).is_ok())
                .expect("a state that never was");
            // Nothing that was lost comes back.
            for _ in 0..3 {
                for _ in 0..driver.below(4) {
                    store.commit_changes(&driver.batch(&mut model, 4000)).unwrap();
                }
                drop(store);
                store = open(&disk, &options).unwrap();
                assert_eq!(model.compare(&store).err(), None);
            }
        }
    });
}
