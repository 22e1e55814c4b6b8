//! Disks that fill up.

use super::{for_seeds, open, options};
use crate::{
    protocol::StreamName,
    storage::{
        CommitError, Position, Retention, Storage as _, StreamId, StreamRecord,
        contract::{CommitChanges as _, Driver, append, put, record, remove},
        journaled::tests::sim::SimDisk,
    },
};

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
                store.commit_changes(&[put(&text, record(next_id))]).unwrap();
                streams.push((text, next_id, 0));
                next_id += 1;
            }
            let mut refused = 0;
            for _ in 0..2000 {
                let (_, id, tail) = &mut streams[driver.below(5) as usize];
                match store.commit_changes(&[append(*id, *tail, vec![*id as u8; 5000])]) {
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
                    store.commit_changes(&[remove(&text, id)]).unwrap();
                }
                while store.maintain().unwrap() {}
                // Free space inside the index survives a restart.
                drop(store);
                store = open(&disk, &options(seed)).unwrap();
            }
            let (_, id, tail) = &mut streams[0];
            for _ in 0..5 {
                store
                    .commit_changes(&[append(*id, *tail, vec![*id as u8; 5000])])
                    .unwrap();
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
        store.commit_changes(&[put("a", record(1))]).unwrap();
        let mut tail = 0;
        for _ in 0..3 {
            while let Ok(()) = store.commit_changes(&[append(1, tail, vec![7; 5000])]) {
                tail += 5000;
            }
            store.commit_changes(&[put("a", kept_from(tail - 5000))]).unwrap();
            while store.maintain().unwrap() {}
            store.commit_changes(&[append(1, tail, vec![7; 5000])]).unwrap();
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
