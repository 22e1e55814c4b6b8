//! Atomic batches, removal, due times, writers and trimming.

use super::{CommitChanges, Subject, append, drain, get, producer, producer_state, put, record, remove, writer};
use crate::storage::{Change, ProducerState, Progress, Retention, Storage, Stored, StreamRecord, Usage, WriterState};

pub(crate) fn a_batch_is_refused_whole<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    store
        .commit_changes(&[put("a", record(1)), append(1, 0, "hello")])
        .unwrap();
    let before = store.usage();
    let closed = StreamRecord {
        closed: true,
        due_at: Some(5),
        ..record(1)
    };
    let state = ProducerState { epoch: 1, seq: 1 };
    for wrong in [
        append(1, 4, "x"),
        append(1, 6, "x"),
        append(1, 0, "x"),
        append(1, 4, ""),
        append(99, 0, "x"),
    ] {
        let batch = [
            put("b", record(2)),
            append(2, 0, "new"),
            put("a", closed.clone()),
            producer(1, "p", state, 1),
            wrong.clone(),
            append(1, 5, "late"),
        ];
        assert!(store.moves(&batch), "{wrong:?}");
        assert_eq!(get(&store, "b"), None);
        assert!(store.read(2, 0..10).unwrap().is_empty());
        assert_eq!(
            get(&store, "a").unwrap(),
            Stored {
                record: record(1),
                tail: 5,
                rev: 0,
            }
        );
        assert_eq!(producer_state(&store, 1, "p"), None);
        assert_eq!(store.due(u64::MAX, 10).unwrap(), vec![]);
        assert_eq!(store.usage(), before);
    }
    // An append at a tail that the batch itself has moved.
    assert!(store.moves(&[append(1, 5, "x"), append(1, 5, "y")]));
    store.commit_changes(&[append(1, 5, "!")]).unwrap();
    assert_eq!(&store.read(1, 0..10).unwrap()[..], b"hello!");
}

pub(crate) fn a_removed_stream_is_gone_and_its_name_is_free<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let due = StreamRecord {
        due_at: Some(10),
        ..record(1)
    };
    let state = ProducerState { epoch: 1, seq: 1 };
    let producer = |id| super::producer(id, "p", state, 1);
    store
        .commit_changes(&[put("a", due), append(1, 0, "old"), producer(1)])
        .unwrap();
    store.commit_changes(&[remove("a", 1)]).unwrap();
    assert_eq!(get(&store, "a"), None);
    assert_eq!(store.due(u64::MAX, 10).unwrap(), vec![]);
    assert_eq!(store.list("", None, 10).unwrap(), vec![]);
    assert!(store.moves(&[append(1, 3, "x")]));
    store
        .commit_changes(&[put("a", record(2)), append(2, 0, "new")])
        .unwrap();
    drain(&store);
    assert_eq!(&store.read(2, 0..10).unwrap()[..], b"new");
    assert_eq!(producer_state(&store, 2, "p"), None);
    assert!(store.read(1, 0..10).unwrap().is_empty());
    assert_eq!(producer_state(&store, 1, "p"), None);
    // Removed and created in one batch.
    store
        .commit_changes(&[remove("a", 2), put("a", record(3)), append(3, 0, "third"), producer(3)])
        .unwrap();
    drain(&store);
    assert_eq!(
        get(&store, "a").unwrap(),
        Stored {
            record: record(3),
            tail: 5,
            rev: 0,
        }
    );
    assert_eq!(&store.read(3, 0..10).unwrap()[..], b"third");
    assert_eq!(producer_state(&store, 3, "p"), Some(state));
    // Created and removed in one batch.
    store
        .commit_changes(&[put("b", record(4)), append(4, 0, "short"), remove("b", 4)])
        .unwrap();
    assert_eq!(get(&store, "b"), None);
    if store.shared().is_some() {
        // Another server may still have this id, or a smaller one.
        assert!(store.moves(&[put("b", record(4))]));
    }
    // The name belongs to another stream now.
    store.commit_changes(&[remove("a", 1)]).unwrap();
    assert_eq!(get(&store, "a").unwrap().tail, 5);
    assert_eq!(store.usage().streams, 1);
    assert_eq!(store.usage().bytes, 5);
}

pub(crate) fn a_name_put_for_another_id_removes_the_first_stream<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let due = StreamRecord {
        due_at: Some(10),
        ..record(1)
    };
    store.commit_changes(&[put("a", due), append(1, 0, "old")]).unwrap();
    store.commit_changes(&[put("a", record(2))]).unwrap();
    assert_eq!(
        get(&store, "a").unwrap(),
        Stored {
            record: record(2),
            tail: 0,
            rev: 0,
        }
    );
    assert_eq!(store.due(u64::MAX, 10).unwrap(), vec![]);
    drain(&store);
    assert!(store.read(1, 0..10).unwrap().is_empty());
    assert_eq!((store.usage().streams, store.usage().bytes), (1, 0));
}

pub(crate) fn due_streams_come_soonest_first<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let due_at = |id: u64, at: Option<u64>| StreamRecord {
        due_at: at,
        ..record(id)
    };
    store
        .commit_changes(&[
            put("c", due_at(1, Some(300))),
            put("a", due_at(2, Some(70_000))),
            put("b", due_at(3, Some(200))),
            put("d", due_at(4, None)),
            put("e", due_at(5, Some(300))),
        ])
        .unwrap();
    let due = |now: u64, limit: usize| -> Vec<String> {
        let due = store.due(now, limit).unwrap();
        due.iter().map(|name| name.as_str().to_owned()).collect()
    };
    assert_eq!(due(199, 10), Vec::<String>::new());
    assert_eq!(due(200, 10), ["b"]);
    assert_eq!(due(300, 10), ["b", "c", "e"]);
    assert_eq!(due(u64::MAX, 10), ["b", "c", "e", "a"]);
    assert_eq!(due(u64::MAX, 2), ["b", "c"]);
    store
        .commit_changes(&[
            put("b", due_at(3, None)),
            put("c", due_at(1, Some(80_000))),
            remove("e", 5),
        ])
        .unwrap();
    assert_eq!(due(u64::MAX, 10), ["a", "c"]);
}

pub(crate) fn writers_are_kept_by_stream<S: Subject>() {
    let subject = S::new();
    let mut store = subject.open();
    store
        .commit_changes(&[put("a", record(1)), put("b", record(2))])
        .unwrap();
    let set = |id: u64, key: &str, epoch: u64, seq: u64| producer(id, key, ProducerState { epoch, seq }, seq);
    let sequence = |text: &str| WriterState {
        progress: Progress::Sequence(text.into()),
        used_at: 3,
    };
    let write = |key: &str, state: Option<WriterState>| Change::Writer {
        id: 1,
        key: key.to_owned(),
        state,
    };
    store
        .commit_changes(&[
            set(1, "p", 0, 0),
            set(1, "q", 1, 5),
            set(2, "p", 7, u64::MAX),
            set(1, "p", 0, 1),
            set(1, "", 2, 2),
            write("\0s", Some(sequence("b"))),
            write("unknown", None),
        ])
        .unwrap();
    let check = |store: &S::Store| {
        let state = |id, key| producer_state(store, id, key).map(|state| (state.epoch, state.seq));
        assert_eq!(state(1, "p"), Some((0, 1)));
        assert_eq!(state(1, "q"), Some((1, 5)));
        assert_eq!(state(1, ""), Some((2, 2)));
        assert_eq!(state(2, "p"), Some((7, u64::MAX)));
        assert_eq!(writer(store, 1, "\0s"), Some(sequence("b")));
        assert_eq!(writer(store, 1, "q").unwrap().used_at, 5);
        assert_eq!(
            (store.writers(1).unwrap().len(), store.writers(2).unwrap().len()),
            (4, 1)
        );
    };
    check(&store);
    if S::LASTING {
        drop(store);
        store = subject.open();
        check(&store);
    }
    let changes = [set(1, "p", 1, 0), write("q", None), write("\0s", Some(sequence("c")))];
    store.commit_changes(&changes).unwrap();
    for _ in 0..2 {
        assert_eq!(producer_state(&store, 1, "p").map(|state| state.epoch), Some(1));
        assert_eq!(writer(&store, 1, "q"), None);
        assert_eq!(writer(&store, 1, "\0s"), Some(sequence("c")));
        assert_eq!(store.writers(1).unwrap().len(), 3);
        if S::LASTING {
            drop(store);
            store = subject.open();
        }
    }
}

pub(crate) fn maintenance_frees_removed_streams<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    store
        .commit_changes(&[put("keep", record(1)), append(1, 0, "kept")])
        .unwrap();
    let piece = vec![5u8; 10_000];
    let state = ProducerState { epoch: 0, seq: 0 };
    for id in 2..20u64 {
        store.commit_changes(&[put(&format!("s{id}"), record(id))]).unwrap();
        for n in 0..20u64 {
            store
                .commit_changes(&[append(id, n * 10_000, &piece), producer(id, &format!("p{n}"), state, n)])
                .unwrap();
        }
    }
    assert!(store.usage().bytes >= 18 * 200_000);
    let removals: Vec<Change> = (2..20u64).map(|id| remove(&format!("s{id}"), id)).collect();
    store.commit_changes(&removals).unwrap();
    drain(&store);
    assert_eq!(store.usage(), Usage { streams: 1, bytes: 4 });
    for id in 2..20u64 {
        assert!(store.read(id, 0..u64::from(u32::MAX)).unwrap().is_empty());
        assert_eq!(producer_state(&store, id, "p3"), None);
    }
    assert_eq!(&store.read(1, 0..10).unwrap()[..], b"kept");
    assert!(!store.maintain().unwrap());
}

pub(crate) fn trimmed_bytes_are_freed<S: Subject>() {
    let subject = S::new();
    let mut store = subject.open();
    let kept_from = |given_up: u64| StreamRecord {
        retention: Some(Box::new(Retention {
            earliest: given_up,
            given_up,
            ..Retention::default()
        })),
        ..record(1)
    };
    let mut all = Vec::new();
    store
        .commit_changes(&[put("a", record(1)), put("b", record(2))])
        .unwrap();
    for round in 0..40u64 {
        let piece: Vec<u8> = (0..9_000 + round).map(|k| (k * 7 + round) as u8).collect();
        store.commit_changes(&[append(1, all.len() as u64, &piece)]).unwrap();
        all.extend_from_slice(&piece);
        if round % 3 == 2 {
            let from = all.len() as u64 * round / 40;
            store.commit_changes(&[put("a", kept_from(from))]).unwrap();
            if round % 2 == 0 {
                drain(&store);
            }
            let tail = all.len() as u64;
            let stored = get(&store, "a").unwrap();
            assert_eq!((stored.record.first(), stored.tail), (from, tail));
            assert!(store.read(1, from..tail).unwrap() == all[from as usize..], "{round}");
            assert_eq!(store.usage().bytes, tail - from, "{round}");
        }
        if S::LASTING && round % 10 == 9 {
            drop(store);
            store = subject.open();
        }
    }
    // Trimmed completely, a stream continues at its tail.
    let tail = all.len() as u64;
    store.commit_changes(&[put("a", kept_from(tail))]).unwrap();
    drain(&store);
    assert_eq!(store.usage(), Usage { streams: 2, bytes: 0 });
    assert_eq!(get(&store, "a").unwrap().tail, tail);
    store.commit_changes(&[append(1, tail, "next")]).unwrap();
    assert_eq!(&store.read(1, tail..tail + 10).unwrap()[..], b"next");
    // A copied stream may begin trimmed.
    let copied = StreamRecord { id: 3, ..kept_from(70) };
    store
        .commit_changes(&[put("c", copied), append(3, 70, "later")])
        .unwrap();
    assert_eq!(get(&store, "c").unwrap().tail, 75);
    assert_eq!(&store.read(3, 70..80).unwrap()[..], b"later");
    store.commit_changes(&[remove("a", 1), remove("c", 3)]).unwrap();
    drain(&store);
    assert_eq!(store.usage(), Usage { streams: 1, bytes: 0 });
    assert!(!store.maintain().unwrap());
}

pub(crate) fn usage_counts<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    store
        .commit_changes(&[put("a", record(1)), put("b", record(2)), append(1, 0, vec![1; 1000])])
        .unwrap();
    store.commit_changes(&[append(2, 0, vec![1; 234])]).unwrap();
    assert_eq!((store.usage().streams, store.usage().bytes), (2, 1234));
    store.commit_changes(&[remove("a", 1)]).unwrap();
    assert_eq!((store.usage().streams, store.usage().bytes), (1, 234));
    drop(store);
    if S::LASTING {
        let store = subject.open();
        assert_eq!((store.usage().streams, store.usage().bytes), (1, 234));
    }
}

pub(crate) fn ids_are_never_repeated<S: Subject>() {
    let subject = S::new();
    let mut store = subject.open();
    let mut next = 0;
    for round in 0..4u64 {
        // `lowest` comes from a clock, which may step back.
        for (count, lowest) in [(1u64, 0), (10, 5_000 * round), (1000, 40_000 + round), (7, 30_000)] {
            let first = store.reserve_ids(count, lowest).unwrap();
            assert!(first > 0 && first >= next, "{first} after {next} in round {round}");
            assert!(first >= lowest, "{first} below {lowest}");
            next = first + count;
        }
        if S::LASTING {
            drop(store);
            store = subject.open();
        }
    }
}
