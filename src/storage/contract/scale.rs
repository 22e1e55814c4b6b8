//! Large values, many streams, concurrent readers, reopening.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;

use super::{Driver, Model, Subject, append, drain, get, name, put, record, remove};
use crate::storage::{Change, ProducerState, Storage, Stored, StreamRecord};

pub(crate) fn large_values_survive<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let large: Vec<u8> = (0..5_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    store.commit(&[put("a", record(1)), append(1, 0, &large)]).unwrap();
    let pieces: Vec<Bytes> = large.chunks(99_991).map(Bytes::copy_from_slice).collect();
    let at = large.len() as u64;
    store
        .commit(&[Change::Append {
            id: 1,
            at,
            data: pieces,
        }])
        .unwrap();
    assert_eq!(get(&store, "a").unwrap().tail, 2 * at);
    assert!(store.read(1, 0..at).unwrap() == large);
    assert!(store.read(1, at..2 * at).unwrap() == large);
    assert!(store.read(1, 1_048_575..2_097_153).unwrap() == large[1_048_575..2_097_153]);
    let content_type = format!("text/{}", "x".repeat(20_000));
    let wide = StreamRecord {
        content_type,
        ..record(2)
    };
    let longest = "n".repeat(1024);
    store.commit(&[put(&longest, wide.clone())]).unwrap();
    assert_eq!(get(&store, &longest).unwrap().record, wide);
}

pub(crate) fn many_streams_in_one_batch<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let batch: Vec<Change> = (1..=2000u64)
        .flat_map(|id| [put(&format!("s{id:05}"), record(id)), append(id, 0, format!("{id}"))])
        .collect();
    store.commit(&batch).unwrap();
    assert_eq!(store.usage().streams, 2000);
    for id in (1..=2000u64).step_by(37) {
        assert_eq!(store.read(id, 0..10).unwrap(), format!("{id}"));
    }
    assert_eq!(store.list("", Some("s01990"), 100).unwrap().len(), 10);
}

/// Two streams and a record change together. A reader must never see one change without the others,
/// nor less than a commit that has returned.
pub(crate) fn readers_see_whole_batches<S: Subject>() {
    let subject = S::new();
    let store = Arc::new(subject.open());
    store.commit(&[put("a", record(1)), put("b", record(2))]).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (store, done) = (Arc::clone(&store), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Acquire) {
                    let first = store.read(1, 0..1 << 20).unwrap();
                    let second = store.read(2, 0..1 << 20).unwrap();
                    assert!(first.len() >= seen && second.len() >= first.len());
                    assert!(second.starts_with(&first));
                    assert!(first.len().is_multiple_of(12), "part of a batch: {}", first.len());
                    let page = store.list("", None, 10).unwrap();
                    assert_eq!(page[0].1.tail, page[1].1.tail);
                    let seq = page[0]
                        .1
                        .record
                        .stream_seq
                        .as_deref()
                        .map_or(0, |seq| seq.parse().unwrap());
                    assert_eq!(page[0].1.tail, seq);
                    seen = first.len();
                }
            })
        })
        .collect();
    for n in 0..300u64 {
        let at = n * 12;
        let text = format!("{n:011},");
        let (front, back) = text.split_at(5);
        let moved = StreamRecord {
            stream_seq: Some((at + 12).to_string()),
            ..record(1)
        };
        store
            .commit(&[
                append(1, at, front),
                append(2, at, &text),
                append(1, at + 5, back),
                put("a", moved),
            ])
            .unwrap();
        let read = store.read(1, at..at + 12).unwrap();
        assert_eq!(read, text);
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        reader.join().unwrap();
    }
}

pub(crate) fn random_batches_agree_with_a_model<S: Subject>() {
    for seed in 1..=3 {
        let subject = S::new();
        let mut store = subject.open();
        let mut driver = Driver::new(seed);
        let mut model = Model::default();
        for round in 0..150 {
            let batch = driver.batch(&mut model, 100_000);
            store.commit(&batch).unwrap();
            if driver.below(4) == 0 {
                store.maintain().unwrap();
            }
            if round % 25 == 24 {
                model.check(&store);
            }
            if S::LASTING && driver.below(30) == 0 {
                drop(store);
                store = subject.open();
                model.check(&store);
            }
        }
        drain(&store);
        model.check(&store);
    }
}

pub(crate) fn everything_survives_reopening<S: Subject>() {
    if !S::LASTING {
        return;
    }
    let subject = S::new();
    let store = subject.open();
    let closed = StreamRecord {
        closed: true,
        due_at: Some(77),
        ..record(1)
    };
    let state = ProducerState { epoch: 3, seq: 9 };
    store
        .commit(&[
            put("a", closed.clone()),
            append(1, 0, "hello"),
            super::producer(1, "p", state, 1),
            put("gone", record(2)),
            append(2, 0, "bye"),
        ])
        .unwrap();
    store.commit(&[append(1, 5, " world"), remove("gone", 2)]).unwrap();
    drop(store);
    for _ in 0..3 {
        let store = subject.open();
        assert_eq!(
            get(&store, "a").unwrap(),
            Stored {
                record: closed.clone(),
                tail: 11
            }
        );
        assert_eq!(&store.read(1, 0..100).unwrap()[..], b"hello world");
        assert_eq!(super::producer_state(&store, 1, "p"), Some(state));
        assert_eq!(store.due(77, 10).unwrap(), [name("a")]);
        assert_eq!(get(&store, "gone"), None);
        drain(&store);
        assert!(store.read(2, 0..10).unwrap().is_empty());
    }
    let store = subject.open();
    store.commit(&[append(1, 11, "!")]).unwrap();
    assert_eq!(&store.read(1, 0..100).unwrap()[..], b"hello world!");
}
