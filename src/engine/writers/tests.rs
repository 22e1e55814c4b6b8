use super::*;
use crate::storage::ProducerState;

fn scope(n: u8) -> WriterScope {
    WriterScope::new([n; 16])
}

fn keys(evicted: Vec<Evicted>) -> Vec<String> {
    evicted.into_iter().map(|evicted| evicted.key).collect()
}

fn set(writers: &mut Writers, key: &str, limit: usize) -> Vec<String> {
    let state = WriterState {
        progress: Progress::Producer(ProducerState { epoch: 0, seq: 0 }),
        used_at: writers.uses,
    };
    keys(writers.set(key, state, limit))
}

fn key(of: u8, id: &str) -> String {
    producer_key(Some(scope(of)), id.to_owned())
}

/// The counted size is the real one.
fn check(writers: &Writers) {
    let sizes = writers.known.iter().map(|(key, known)| known.state.size(key));
    assert_eq!(writers.size, sizes.sum::<u64>());
    assert_eq!(writers.scoped, writers.scopes.values().sum::<usize>());
    let scoped = writers.known.keys().filter(|key| scope_of(key).is_some());
    assert_eq!(writers.scoped, scoped.count());
}

#[test]
fn keys_of_different_scopes_never_meet() {
    let keys = [
        producer_key(None, "p".into()),
        key(1, "p"),
        key(2, "p"),
        key(1, "q"),
        scope_key(scope(1)),
        scope_key(scope(2)),
    ];
    let distinct: std::collections::HashSet<&String> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len());
    assert_eq!(scope_of(&keys[0]), None);
    assert_eq!(scope_of(&keys[1]), scope_of(&keys[4]));
    assert_ne!(scope_of(&keys[1]), scope_of(&keys[2]));
}

#[test]
fn the_longest_unused_are_evicted_first() {
    let mut writers = Writers::default();
    for id in ["a", "b", "c"] {
        assert!(set(&mut writers, id, 3).is_empty());
    }
    set(&mut writers, "a", 3);
    assert_eq!(set(&mut writers, "d", 3), ["b"]);
    assert_eq!(set(&mut writers, "b", 3), ["c"]);
    check(&writers);
    // Of many, some at once.
    let mut writers = Writers::default();
    let evicted: Vec<String> = (0..1001)
        .flat_map(|n| set(&mut writers, &format!("p{n}"), 1000))
        .collect();
    assert_eq!(evicted.len(), 62);
    assert!((0..62).all(|n| evicted.contains(&format!("p{n}"))));
    check(&writers);
    // And after the limit was lowered.
    assert_eq!(set(&mut writers, "p1000", 10).len(), 929);
    check(&writers);
}

#[test]
fn a_scope_evicts_its_own_before_anybody_elses() {
    let mut writers = Writers::default();
    set(&mut writers, "plain", 100);
    set(&mut writers, &key(2, "other"), 100);
    for n in 0..500 {
        let evicted = set(&mut writers, &key(1, &n.to_string()), 100);
        assert!(evicted.iter().all(|evicted| evicted.starts_with(&scope_key(scope(1)))));
    }
    assert_eq!(writers.known.len(), 2 + 6);
    check(&writers);
    // All scopes together have as many as those without.
    for n in 0..255 {
        for id in 0..6 {
            set(&mut writers, &key(n, &id.to_string()), 100);
        }
    }
    assert!(writers.scoped <= 100);
    assert!(writers.progress("plain").is_some());
    check(&writers);
}

#[test]
fn unused_writers_are_evicted_by_their_age() {
    let mut writers = Writers::default();
    for id in ["a", "b", "c"] {
        set(&mut writers, id, 3);
    }
    let mut evicted = keys(writers.evict_unused(2));
    evicted.sort_unstable();
    assert_eq!(evicted, ["a", "b"]);
    check(&writers);
}

#[test]
fn a_table_is_as_it_was_after_reading_it_again() {
    let state = |used_at| WriterState {
        progress: Progress::Sequence("x".into()),
        used_at,
    };
    let stored = [("new", 9), ("old", 1), ("middle", 5)].map(|(key, used_at)| (key.to_owned(), state(used_at)));
    let mut writers = Writers::of(stored.to_vec());
    assert_eq!(set(&mut writers, "p", 3), ["old"]);
    assert_eq!(writers.progress("new"), Some(&Progress::Sequence("x".into())));
    check(&writers);
}

#[test]
fn the_most_that_writers_can_occupy_is_known() {
    let mut writers = Writers::default();
    let long = "x".repeat(255);
    for n in 0..100u8 {
        let state = WriterState {
            progress: Progress::Sequence("x".repeat(256).into()),
            used_at: 0,
        };
        writers.set(&scope_key(scope(n)), state, 10);
        set(&mut writers, &key(n, &format!("{long}{}", n % 10)), 10);
        set(&mut writers, &format!("{long}{}", n % 10), 10);
        assert!(writers.size() <= max_size(10));
    }
}
