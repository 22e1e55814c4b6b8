//! Records and bytes are read as they were written.

use bytes::Bytes;

use super::{CommitChanges, Subject, append, drain, get, name, put, record, remove};
use crate::storage::{Change, Fork, Inherited, Life, Mark, Retention, Storage, Stored, StreamRecord};
use crate::{
    protocol::Framing,
    protocol::Millis,
    protocol::{Lifetime, ProducerStamp, RetentionPolicy, StreamName},
};

pub(crate) fn an_empty_store_has_nothing<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    assert_eq!(get(&store, "a"), None);
    assert_eq!(store.list("", None, 10).unwrap(), vec![]);
    assert_eq!(store.due(u64::MAX, 10).unwrap(), vec![]);
    assert_eq!(super::producer_state(&store, 1, "p"), None);
    assert!(store.read(1, 0..100).unwrap().is_empty());
    assert_eq!(store.usage().streams, 0);
    assert_eq!(store.usage().bytes, 0);
    store.commit_changes(&[]).unwrap();
    drain(&store);
}

pub(crate) fn a_record_is_read_as_written<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let full = StreamRecord {
        id: 7,
        start: 42,
        content_type: "text/plain; charset=utf-8".to_owned(),
        created_at: 1,
        lifetime: Lifetime::Ttl(60),
        touched_at: 2,
        due_at: Some(60_002),
        closed: true,
        closed_by: Some(ProducerStamp {
            id: "p/1".to_owned(),
            epoch: 3,
            seq: 4,
        }),
        stream_seq: Some("seq-ä".to_owned()),
        fork: Some(Box::new(Fork {
            source: name("gid://app/Room/1"),
            source_id: 5,
            offset: 40,
            sub_offset: 2,
            lineage: vec![Inherited { id: 4, end: 10 }, Inherited { id: 5, end: 42 }],
        })),
        forks: 2,
        soft_deleted: true,
        lives: vec![
            Life {
                incarnation: 4,
                end: 10,
            },
            Life {
                incarnation: 9_999_999_999_999_999,
                end: 42,
            },
        ],
        renewed: Some(10_000_000_000_000_001),
        framing: Framing::NEW.covering(1 << 30),
        retention: Some(Box::new(Retention {
            policy: Some(RetentionPolicy {
                max_age_secs: Some(3600),
                max_bytes: None,
            }),
            earliest: 41,
            given_up: 40,
            marks: vec![Mark { at: 9, position: 42 }],
            due_at: Some(60_001),
        })),
    };
    let expires = StreamRecord {
        lifetime: Lifetime::ExpiresAt(99),
        ..record(8)
    };
    store
        .commit_changes(&[put("gid://app/Room/2/ü", full.clone()), put("x", expires.clone())])
        .unwrap();
    let stored = get(&store, "gid://app/Room/2/ü").unwrap();
    assert_eq!(
        stored,
        Stored {
            record: full,
            tail: 42,
            rev: 0
        }
    );
    assert_eq!(get(&store, "x").unwrap().record, expires);
    assert_eq!(get(&store, "gid://app/Room/2"), None);
}

pub(crate) fn streams_of_the_servers_own_are_kept<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let own = StreamName::internal("subscriptions/s").unwrap();
    let due = StreamRecord {
        due_at: Some(7),
        ..record(1)
    };
    let (name, record) = (own.clone(), due.clone());
    store
        .commit_changes(&[Change::Put { name, record }, append(1, 0, "event")])
        .unwrap();
    assert_eq!(store.get(&own).unwrap().unwrap().record, due);
    let listed = store.list("__ds/", None, 10).unwrap();
    assert_eq!(listed.iter().map(|(name, _)| name).collect::<Vec<_>>(), [&own]);
    assert_eq!(store.due(7, 10).unwrap(), [own]);
}

pub(crate) fn a_record_is_replaced<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    store
        .commit_changes(&[put("a", record(1)), append(1, 0, "hello")])
        .unwrap();
    let closed = StreamRecord {
        closed: true,
        stream_seq: Some("9".to_owned()),
        ..record(1)
    };
    store
        .commit_changes(&[append(1, 5, " world"), put("a", closed.clone())])
        .unwrap();
    let stored = get(&store, "a").unwrap();
    assert_eq!(stored.record, closed);
    assert_eq!(stored.tail, 11);
    assert_eq!(&store.read(1, 0..100).unwrap()[..], b"hello world");
    store.commit_changes(&[put("a", record(1))]).unwrap();
    assert_eq!(get(&store, "a").unwrap().record, record(1));
    assert_eq!(get(&store, "a").unwrap().tail, 11);
    assert_eq!(store.usage().streams, 1);
}

pub(crate) fn ranges_read_what_was_appended<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    store.commit_changes(&[put("a", record(1))]).unwrap();
    let mut all = Vec::new();
    for i in 0..60usize {
        let len = if i % 20 == 19 { 70_000 } else { i * 97 % 900 + 1 };
        let piece: Vec<u8> = (0..len).map(|k| (k * 7 + i) as u8).collect();
        store.commit_changes(&[append(1, all.len() as u64, &piece)]).unwrap();
        all.extend_from_slice(&piece);
    }
    assert_eq!(get(&store, "a").unwrap().tail, all.len() as u64);
    for step in 0..200usize {
        let from = step * 7919 % all.len();
        let to = (from + step * step * 11 + 1).min(all.len());
        let read = store.read(1, from as u64..to as u64).unwrap();
        assert!(read == all[from..to], "{from}..{to}");
    }
    let tail = all.len() as u64;
    assert_eq!(store.read(1, 0..tail + 1000).unwrap().len(), all.len());
    assert_eq!(store.read(1, tail - 1..tail + 9).unwrap().len(), 1);
    assert!(store.read(1, tail..tail + 1).unwrap().is_empty());
    assert!(store.read(1, tail + 5..tail + 9).unwrap().is_empty());
    assert!(store.read(1, 5..5).unwrap().is_empty());
}

pub(crate) fn a_batch_may_append_to_a_stream_several_times<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    store
        .commit_changes(&[
            put("a", record(1)),
            append(1, 0, "one,"),
            put("b", record(2)),
            append(2, 0, "x"),
            append(1, 4, "two,"),
            Change::Append {
                id: 1,
                at: 8,
                data: vec![Bytes::from_static(b"three"), Bytes::new(), Bytes::from_static(b",")],
            },
            append(1, 14, ""),
            Change::Append {
                id: 1,
                at: 14,
                data: vec![],
            },
        ])
        .unwrap();
    assert_eq!(&store.read(1, 0..100).unwrap()[..], b"one,two,three,");
    assert_eq!(&store.read(1, 4..8).unwrap()[..], b"two,");
    assert_eq!(get(&store, "a").unwrap().tail, 14);
    store
        .commit_changes(&[append(1, 14, ""), append(1, 14, "four")])
        .unwrap();
    assert_eq!(&store.read(1, 8..100).unwrap()[..], b"three,four");
}

pub(crate) fn streams_do_not_mix<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let ids = [1u64, 2, 255, 256, 257, 65_536, u64::from(u32::MAX) + 1];
    for id in ids {
        store
            .commit_changes(&[put(&format!("s{id}"), record(id)), append(id, 0, format!("<{id}>"))])
            .unwrap();
    }
    for id in ids {
        assert_eq!(store.read(id, 0..100).unwrap(), format!("<{id}>"));
        assert_eq!(
            get(&store, &format!("s{id}")).unwrap().tail,
            format!("<{id}>").len() as u64
        );
    }
}

pub(crate) fn a_fork_begins_at_its_fork_point<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let fork = StreamRecord {
        start: 1000,
        ..record(2)
    };
    store.commit_changes(&[put("fork", fork)]).unwrap();
    assert_eq!(get(&store, "fork").unwrap().tail, 1000);
    assert!(store.read(2, 0..2000).unwrap().is_empty());
    assert!(store.moves(&[append(2, 0, "x")]));
    store.commit_changes(&[append(2, 1000, "abc")]).unwrap();
    store.commit_changes(&[append(2, 1003, "def")]).unwrap();
    assert_eq!(get(&store, "fork").unwrap().tail, 1006);
    assert_eq!(&store.read(2, 0..2000).unwrap()[..], b"abcdef");
    assert_eq!(&store.read(2, 1002..1004).unwrap()[..], b"cd");
    assert_eq!(store.usage().bytes, 6);
}

pub(crate) fn lists_are_sorted_and_paged<S: Subject>() {
    let subject = S::new();
    let store = subject.open();
    let names = ["a", "a/", "a/1", "a/10", "a/2", "a0", "b", "ä", "z/ü"];
    for (i, text) in names.iter().enumerate().rev() {
        store
            .commit_changes(&[put(text, record(i as u64 + 1)), append(i as u64 + 1, 0, text)])
            .unwrap();
    }
    let list = |prefix: &str, after: Option<&str>, limit: usize| -> Vec<String> {
        let found = store.list(prefix, after, limit).unwrap();
        for (name, stored) in &found {
            assert_eq!(stored.tail, name.as_str().len() as u64);
            assert_eq!(store.get(name).unwrap().as_ref(), Some(stored));
        }
        found.into_iter().map(|(name, _)| name.as_str().to_owned()).collect()
    };
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    assert_eq!(list("", None, 100), sorted);
    assert_eq!(list("a/", None, 100), ["a/", "a/1", "a/10", "a/2"]);
    assert_eq!(list("a/1", None, 100), ["a/1", "a/10"]);
    assert_eq!(list("a/", Some("a/1"), 100), ["a/10", "a/2"]);
    assert_eq!(list("a/", Some("a/1"), 1), ["a/10"]);
    assert_eq!(list("a/", Some("a/15"), 100), ["a/2"]);
    assert_eq!(list("a/", Some("a"), 2), ["a/", "a/1"]);
    assert_eq!(list("a/", Some("b"), 100), Vec::<String>::new());
    assert_eq!(list("none", None, 100), Vec::<String>::new());
    assert_eq!(list("", None, 0), Vec::<String>::new());
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = list("", after.as_deref(), 2);
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        all.extend(page);
    }
    assert_eq!(all, sorted);
}

pub(crate) fn a_stream_keeps_the_spelling_of_its_creation<S: Subject>() {
    let subject = S::new();
    let mut store = subject.open();
    let due = |at| StreamRecord {
        due_at: Some(at),
        ..record(1)
    };
    store.commit_changes(&[put("a//b", due(7)), append(1, 0, "x")]).unwrap();
    store.commit_changes(&[put("c", record(2))]).unwrap();
    let names = |store: &S::Store, prefix: &str| -> Vec<String> {
        let found = store.list(prefix, None, 100).unwrap();
        found.into_iter().map(|(name, _)| name.as_str().to_owned()).collect()
    };
    for at in 8..11 {
        if S::LASTING {
            drop(store);
            store = subject.open();
        }
        store.commit_changes(&[put("a/b", due(at))]).unwrap();
        store
            .commit_changes(&[put("a///b", due(at)), append(1, at - 7, "x")])
            .unwrap();
        assert_eq!(get(&store, "a/b").unwrap().tail, at - 6);
        assert_eq!(names(&store, ""), ["a//b", "c"]);
        assert_eq!(names(&store, "a/"), ["a//b"]);
        assert_eq!(store.due(at - 1, 10).unwrap(), []);
        assert_eq!(store.due(at, 10).unwrap(), [name("a/b")]);
        assert_eq!(store.usage().streams, 2);
    }
    // The next stream of that name has a spelling of its own, whether or not the first was removed.
    store
        .commit_changes(&[remove("a/b", 1), put("a/b", record(3))])
        .unwrap();
    assert_eq!(names(&store, ""), ["a/b", "c"]);
    store.commit_changes(&[put("a////b", record(4))]).unwrap();
    if S::LASTING {
        drop(store);
        store = subject.open();
    }
    assert_eq!(names(&store, ""), ["a////b", "c"]);
    assert_eq!(store.due(Millis::MAX, 10).unwrap(), []);
}
