//! Power failures, and disks that fail from time to time or turn read-only.

use super::{Expected, Simulated, for_seeds, open, options};
use crate::storage::{
    CommitError, Storage as _, StorageError,
    contract::{CommitChanges as _, Driver, Model},
    journaled::tests::sim::{Faults, SimDisk},
};

/// Cuts the power again and again while `work` commits, and checks after each failure that nothing
/// acknowledged is lost. `moment` is the number of operations until the next failure.
fn cut_power(moment: impl Fn(&mut Driver) -> u64, work: impl Fn(&Simulated, &SimDisk, &mut Expected, &mut Driver)) {
    for_seeds(10, |seed| {
        let disk = SimDisk::new(seed);
        let options = options(seed);
        let mut driver = Driver::new(seed);
        let mut expected = Expected::default();
        for _ in 0..8 {
            disk.cut_power_after(moment(&mut driver));
            if let Ok(store) = open(&disk, &options) {
                if !disk.is_down() {
                    expected.settle(&store, &disk);
                }
                work(&store, &disk, &mut expected, &mut driver);
            }
            disk.reboot();
        }
        let store = open(&disk, &options).unwrap();
        expected.settle(&store, &disk);
        while store.maintain().unwrap() {}
        expected.settle(&store, &disk);
    });
}

fn act_until_down(store: &Simulated, disk: &SimDisk, expected: &mut Expected, driver: &mut Driver) {
    while !disk.is_down() {
        expected.act(store, driver);
    }
}

/// Power failures at arbitrary moments, including during recovery.
#[test]
fn a_power_failure_loses_nothing_that_was_acknowledged() {
    cut_power(|driver| driver.below(150), act_until_down);
}

/// The same while another thread writes checkpoints, as in a server. The order of the operations on
/// the disk then differs from run to run.
#[test]
fn a_power_failure_beside_a_checkpoint_loses_nothing() {
    cut_power(
        |driver| 100 + driver.below(400),
        |store, disk, expected, driver| {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !disk.is_down() {
                        let _ = store.maintain();
                        std::thread::yield_now();
                    }
                });
                act_until_down(store, disk, expected, driver);
            });
        },
    );
}

/// A disk that fails from time to time: acknowledged batches are there, failed ones are not, and the
/// store works again afterwards.
#[test]
fn a_failing_disk_is_reported_and_survived() {
    for_seeds(10, |seed| {
        let disk = SimDisk::new(seed);
        let options = options(seed);
        let mut driver = Driver::new(seed);
        let mut expected = Expected::default();
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
                store.commit_changes(&driver.batch(&mut model, 4000)).unwrap();
            }
            disk.set_faults(Faults {
                read_only: true,
                ..Faults::default()
            });
            for _ in 0..5 {
                let error = store
                    .commit_changes(&driver.batch(&mut model.clone(), 4000))
                    .unwrap_err();
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
