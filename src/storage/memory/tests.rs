use super::*;
use crate::storage::{
    ProducerState, Retention,
    contract::{Subject, append, contract, producer, put, record, remove},
};

struct Memory;

impl Subject for Memory {
    type Store = InMemoryStorage;

    fn new() -> Self {
        Self
    }

    fn open(&self) -> InMemoryStorage {
        InMemoryStorage::new(0)
    }

    const LASTING: bool = false;
}

contract!(Memory);

#[test]
fn a_full_store_refuses_appends_until_there_is_room() {
    let store = InMemoryStorage::new(10_000);
    store.commit(&[put("a", record(1)), put("b", record(2))]).unwrap();
    store.commit(&[append(1, 0, vec![1; 8000])]).unwrap();
    assert!(matches!(
        store.commit(&[append(2, 0, vec![2; 8000])]),
        Err(CommitError::Full(_))
    ));
    assert_eq!(store.usage().bytes, 8000);
    assert_eq!(store.read(1, 0..10_000).unwrap().len(), 8000);
    store.commit(&[append(2, 0, vec![2; 100])]).unwrap();
    store.commit(&[remove("a", 1), append(2, 100, vec![2; 8000])]).unwrap();
    assert_eq!(store.usage().bytes, 8100);
}

#[test]
fn records_are_written_when_the_store_is_full() {
    let store = InMemoryStorage::new(1000);
    store
        .commit(&[put("a", record(1)), append(1, 0, vec![1; 800])])
        .unwrap();
    let closed = StreamRecord {
        closed: true,
        ..record(1)
    };
    assert!(matches!(
        store.commit(&[append(1, 800, vec![1; 800])]),
        Err(CommitError::Full(_))
    ));
    store.commit(&[put("a", closed)]).unwrap();
    assert!(store.commit(&[put("b", record(2))]).is_err());
}

#[test]
fn trimming_makes_room_for_appends_of_the_same_batch() {
    let store = InMemoryStorage::new(10_000);
    store
        .commit(&[put("a", record(1)), append(1, 0, vec![1; 8000])])
        .unwrap();
    let past = Retention {
        earliest: 4000,
        given_up: 4000,
        ..Retention::default()
    };
    let shortened = StreamRecord {
        retention: Some(Box::new(past)),
        ..record(1)
    };
    let more = |len| [put("a", shortened.clone()), append(1, 8000, vec![2; len])];
    assert!(matches!(store.commit(&more(7000)), Err(CommitError::Full(_))));
    store.commit(&more(5000)).unwrap();
    assert_eq!(store.usage().bytes, 9000);
}

#[test]
fn removing_a_stream_frees_all_of_its_memory() {
    let store = InMemoryStorage::new(0);
    for id in 1..50u64 {
        let state = ProducerState { epoch: 0, seq: 0 };
        store
            .commit(&[
                put(&format!("s{id}"), record(id)),
                append(id, 0, "x"),
                producer(id, "p", state, 1),
            ])
            .unwrap();
    }
    for id in 1..50u64 {
        store.commit(&[remove(&format!("s{id}"), id)]).unwrap();
    }
    let state = store.state.read();
    assert_eq!((state.payload, state.overhead), (0, 0));
    assert!(state.names.is_empty() && state.streams.is_empty() && state.due.is_empty());
}
