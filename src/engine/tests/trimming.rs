//! Reads of a stream that is trimmed meanwhile.

use super::*;
use crate::{
    protocol::Offset,
    storage::{FileStorage, contract::scratch},
};

fn keeping_of(max_bytes: u64, content_type: &str) -> CreateRequest {
    CreateRequest {
        content_type: Some(ContentType::parse(content_type).unwrap()),
        ..keeping(max_bytes)
    }
}

async fn say(engine: &Engine, name: &StreamName, content_type: &str, body: &str) {
    let request = AppendRequest {
        content_type: Some(ContentType::parse(content_type).unwrap()),
        body: Bytes::copy_from_slice(body.as_bytes()),
        close: false,
        ..AppendRequest::default()
    };
    engine.append(name, request).await.unwrap();
}

/// Has `meanwhile` done when the next read has found out where to read, and before it reads.
fn during_next_read<F>(storage: &Arc<FailingStore>, meanwhile: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    let store = Arc::downgrade(storage);
    *storage.before_read.lock() = Some(Box::new(move || {
        runtime.block_on(meanwhile);
        while store.upgrade().unwrap().maintain().unwrap() {}
    }));
}

#[tokio::test]
async fn a_reader_from_the_beginning_finds_the_one_there_is() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let grow = |stream: &StreamName, text: &'static str| {
        let (engine, stream) = (engine.clone(), stream.clone());
        async move { say(&engine, &stream, "text/plain", text).await }
    };
    let [read, followed] = [name("read"), name("followed")];
    for stream in [&read, &followed] {
        engine.create(stream, keeping_of(3, "text/plain")).await.unwrap();
        grow(stream, "one").await;
    }
    during_next_read(&storage, grow(&read, "two"));
    assert_eq!(content(&engine, &read).await.unwrap(), "two");

    let mut follower = engine.follow(&followed, ReadFrom::Beginning).await.unwrap();
    during_next_read(&storage, grow(&followed, "two"));
    let Ok(Event::Chunk { chunk, .. }) = follower.next().await else {
        panic!("nothing")
    };
    // Each append has a header of one byte.
    assert_eq!((chunk.start.position, chunk.body().as_ref()), (4, b"two".as_slice()));
    // From there on nothing is left out without a word.
    grow(&followed, "3rd").await;
    grow(&followed, "4th").await;
    let next = follower.next().await;
    assert!(matches!(next, Err(ReadError::Trimmed { earliest }) if earliest.position == 12));
}

#[tokio::test]
async fn a_reader_at_what_becomes_the_earliest_position_reads_on() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, keeping_of(8, "application/json")).await.unwrap();
    let grow = |text: &'static str| {
        let (engine, stream) = (engine.clone(), stream.clone());
        async move { say(&engine, &stream, "application/json", text).await }
    };
    grow("1").await;
    grow("2").await;
    during_next_read(&storage, grow("3"));
    let after_first = Offset {
        position: 3,
        ..engine.metadata(&stream).await.unwrap().tail
    };
    let slice = engine.read(&stream, ReadFrom::At(after_first)).await.unwrap();
    assert_eq!(slice.pieces.only().unwrap().body().as_ref(), b"[2]");
    assert_eq!(engine.metadata(&stream).await.unwrap().earliest, after_first);
}

#[tokio::test]
async fn a_reader_of_the_last_fork_is_not_given_the_hole_where_its_bytes_were() {
    const LEN: usize = 200_000;
    let dir = scratch();
    let storage = FailingStore::over(FileStorage::open(dir.path(), false, 4).unwrap());
    let engine = start(Arc::clone(&storage) as _);
    let (source, fork) = (name("source"), name("fork"));
    engine.create(&source, keeping_of(10, "text/plain")).await.unwrap();
    say(&engine, &source, "text/plain", &"x".repeat(LEN)).await;
    engine.create(&fork, fork_of(&source)).await.unwrap();
    say(&engine, &source, "text/plain", "and something more").await;

    let (deleting, doomed) = (engine.clone(), fork.clone());
    during_next_read(&storage, async move { deleting.delete(&doomed).await.unwrap() });
    let read = engine.read(&fork, ReadFrom::Beginning).await;
    assert!(matches!(read, Err(ReadError::NotFound)));
}
