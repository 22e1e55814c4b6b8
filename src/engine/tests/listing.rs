//! Listings.

use super::*;
use crate::{protocol::Framing, storage::StreamRecord};

fn record(id: StreamId, soft_deleted: bool) -> StreamRecord {
    StreamRecord {
        id,
        start: 0,
        content_type: "text/plain".into(),
        created_at: 0,
        lifetime: Lifetime::Unlimited,
        touched_at: 0,
        due_at: None,
        closed: false,
        closed_by: None,
        stream_seq: None,
        fork: None,
        forks: 1,
        soft_deleted,
        lives: vec![],
        renewed: None,
        framing: Framing::NONE,
        retention: None,
    }
}

#[tokio::test]
async fn a_listing_reads_a_bounded_number_of_records_that_it_leaves_out() {
    let storage = InMemoryStorage::new(0);
    let put = |id: StreamId, soft_deleted| Change::Put {
        name: name(&format!("s{id:05}")),
        record: record(id, soft_deleted),
    };
    let batch: Vec<_> = (1..10_000)
        .map(|id| put(id, true))
        .chain([put(10_000, false)])
        .collect();
    storage.commit(&batch).unwrap();
    let engine = start(Arc::new(storage));

    let first = engine.list(String::new(), None, 1).await.unwrap();
    assert!(first.streams.is_empty());
    let (mut after, mut steps) = (first.next, 1);
    let found = loop {
        let listing = engine
            .list(String::new(), after.as_ref().map(ToString::to_string), 1000)
            .await
            .unwrap();
        steps += 1;
        if !listing.streams.is_empty() {
            assert_eq!(listing.next, None);
            break listing.streams;
        }
        assert!(listing.next > after, "each page begins after the one before");
        after = listing.next;
    };
    assert_eq!(found[0].name, name("s10000"));
    assert!((3..=5000).contains(&steps), "{steps}");
    assert_eq!(engine.streams_in_memory(), 0);
}

#[tokio::test]
async fn a_listing_agrees_with_the_metadata() {
    let engine = start(FailingStore::new(0));
    let list = async || engine.list(String::new(), None, 10).await.unwrap().streams;
    engine.create(&name("expired"), sliding(0)).await.unwrap();
    assert!(list().await.is_empty());

    let (stream, expires_at) = (name("s"), NOW + 600_000);
    engine.create(&stream, expiring(expires_at)).await.unwrap();
    append(&engine, &stream, "abc").await.unwrap();
    let listed = list().await;
    let metadata = engine.metadata(&stream).await.unwrap();
    assert_eq!(listed[0].metadata.tail, metadata.tail);
    assert_eq!(listed[0].metadata.lifetime, Lifetime::ExpiresAt(expires_at));
    engine.delete(&stream).await.unwrap();
    assert!(list().await.is_empty());
}
