//! Disks that lose or change what was written.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{for_seeds, open, options};
use crate::storage::{
    StorageError,
    contract::{CommitChanges as _, Driver, Model},
    disk::Disk as _,
    journal,
    journaled::{
        Options,
        tests::sim::{Faults, SimDisk},
    },
};

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
            store.commit_changes(&batch).unwrap();
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
            store.commit_changes(&driver.batch(&mut model, 400)).unwrap();
            states.push(model.clone());
            ends.push(4096 + store.0.writer.lock().journal.len() as usize);
        }
        disk.cut_power_after(0);
        drop(store);
        let written = disk.contents(journal::FILE_NAMES[0]);
        let (last_begins, end) = (ends[ends.len() - 2], ends[ends.len() - 1]);
        for _ in 0..40 {
            disk.reboot();
            let offset = driver.below(end as u64 + 50) as usize;
            let bit = driver.below(8) as u8;
            disk.flip_bit(journal::FILE_NAMES[0], offset, bit);
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
            let handle = disk.open(journal::FILE_NAMES[0]).unwrap();
            handle.write_at(&mut [std::io::IoSlice::new(&written)], 0).unwrap();
            handle.sync().unwrap();
        }
    });
}
