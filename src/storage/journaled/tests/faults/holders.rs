//! Servers that take the directory over from each other, each killed at any of its disk operations.

use super::{Expected, for_seeds, open, options};
use crate::storage::{
    Storage as _,
    contract::{CommitChanges as _, Driver},
    journaled::{Options, tests::sim::SimDisk},
};

/// Batches of one holder.
const BATCHES: u64 = 8;

/// Opens the store, commits, and closes it, as a server does that hands its directory over; stops
/// where it is killed.
fn hold(process: &SimDisk, options: &Options, expected: &mut Expected, driver: &mut Driver) {
    let Ok(store) = open(process, options) else {
        assert!(process.is_down(), "the store does not open");
        return;
    };
    expected.settle(&store, process);
    for _ in 0..BATCHES {
        if process.is_down() {
            return;
        }
        expected.act(&store, driver);
    }
    // Everything is committed; the close that follows is between the last commit and the release.
    drop(store);
}

/// Whoever takes the directory over finds everything acknowledged once, wherever the holder before
/// was killed: while it opened the store, while it committed, or while it closed the store to hand
/// the directory over. The next holder may be killed as well, and the power may fail between them.
#[test]
fn a_directory_is_taken_over_at_every_point() {
    for_seeds(2, |seed| {
        for moment in 0.. {
            let (disk, options) = (SimDisk::new(seed), options(seed));
            let (mut expected, mut driver) = (Expected::default(), Driver::new(seed));
            hold(&disk.process(), &options, &mut expected, &mut driver);
            let first = disk.process();
            first.kill_after(moment);
            hold(&first, &options, &mut expected, &mut driver);
            let was_killed = first.is_down();
            if moment % 4 == 3 {
                disk.reboot();
            }
            let second = disk.process();
            second.kill_after(driver.below(2 * moment + 20));
            hold(&second, &options, &mut expected, &mut driver);
            let third = disk.process();
            let store = open(&third, &options).unwrap();
            expected.settle(&store, &third);
            expected.act(&store, &mut driver);
            drop(store);
            let store = open(&disk.process(), &options).unwrap();
            expected.settle(&store, &disk);
            assert!(
                store
                    .commit_changes(&driver.batch(&mut expected.acknowledged, 4000))
                    .is_ok()
            );
            assert_eq!(expected.acknowledged.compare(&store).err(), None);
            while store.maintain().unwrap() {}
            if !was_killed {
                // It had fewer operations than that, so it has been killed at each of them.
                assert!(moment > 2 * BATCHES, "killed at {moment} points only");
                break;
            }
        }
    });
}
