//! A catch-up read returns everything up to the tail in pieces, or fails.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::protocol::{Kind, Offset};

fn json(body: impl Into<Bytes>) -> CreateRequest {
    CreateRequest {
        content_type: Some(ContentType::parse("application/json").unwrap()),
        body: body.into(),
        ..plain()
    }
}

/// The stored bytes of the pieces.
async fn pieces(mut read: CatchUp) -> Vec<Bytes> {
    let mut found = Vec::new();
    let mut at = read.start.position;
    while let Some(chunk) = read.pieces.next().await.unwrap() {
        assert_eq!(chunk.start.position, at);
        at = chunk.end.position;
        found.push(chunk.stored().clone());
    }
    assert_eq!(at, read.end.position);
    assert!(read.pieces.is_over());
    found
}

#[tokio::test]
async fn messages_of_any_size_are_read() {
    let engine = start(FailingStore::new(0) as _);
    let stream = name("a");
    let large = format!("\"{}\"", "x".repeat(5 * 1024 * 1024));
    engine.create(&stream, json(format!("[1,{large},2]"))).await.unwrap();
    let read = engine.read(&stream, ReadFrom::Beginning).await.unwrap();
    assert!(read.up_to_date && !read.closed && read.kind() == Kind::Json);
    let end = read.end;
    let expected = [
        Bytes::from("1,\n"),
        Bytes::from(format!("{large},\n")),
        Bytes::from("2,\n"),
    ];
    assert_eq!(pieces(read).await, expected);
    let inside = ReadFrom::At(Offset { position: 5, ..end });
    assert!(matches!(
        engine.read(&stream, inside).await,
        Err(ReadError::InvalidOffset)
    ));
    assert!(matches!(
        engine.follow(&stream, inside).await,
        Err(ReadError::InvalidOffset)
    ));
}

#[tokio::test]
async fn a_read_ends_where_the_tail_was() {
    let engine = start(FailingStore::new(0) as _);
    let stream = name("a");
    let before = "x".repeat(500_000);
    engine.create(&stream, plain()).await.unwrap();
    for _ in 0..6 {
        append(&engine, &stream, &before).await.unwrap();
    }
    let read = engine.read(&stream, ReadFrom::Beginning).await.unwrap();
    append(&engine, &stream, "later").await.unwrap();
    assert!(read.up_to_date);
    let found = pieces(read).await;
    assert!(found.len() > 1 && found.concat() == before.repeat(6).as_bytes());
    let now = engine.read(&stream, ReadFrom::Now).await.unwrap();
    assert!(now.up_to_date && now.pieces.is_over() && now.start == now.end);
}

#[tokio::test]
async fn pages_end_with_a_message() {
    let limits = Limits {
        max_read_bytes: Some(100),
        ..Limits::default()
    };
    let engine = start_with(FailingStore::new(0), limits, &Clock::manual(NOW));
    let stream = name("a");
    let messages: Vec<String> = (0..20).map(|n| format!("\"{}\"", "x".repeat(n * 9))).collect();
    let body = format!("[{}]", messages.join(","));
    engine.create(&stream, json(body)).await.unwrap();
    let (mut from, mut found, mut pages) = (ReadFrom::Beginning, Vec::new(), 0);
    loop {
        let read = engine.read(&stream, from).await.unwrap();
        let (start, end, last) = (read.start, read.end, read.up_to_date);
        let len = end.position - start.position;
        let page = pieces(read).await.concat();
        let whole = page.iter().filter(|byte| **byte == b'\n').count();
        assert!(len <= 100 || whole == 1, "{start}..{end}");
        found.extend(page);
        (from, pages) = (ReadFrom::At(end), pages + 1);
        if last {
            break;
        }
    }
    assert!(pages > 5);
    assert_eq!(String::from_utf8(found).unwrap(), messages.join(",\n") + ",\n");
}

#[tokio::test]
async fn a_read_fails_when_its_stream_is_deleted_meanwhile() {
    let engine = start(FailingStore::new(0) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    for _ in 0..6 {
        append(&engine, &stream, &"x".repeat(500_000)).await.unwrap();
    }
    let mut read = engine.read(&stream, ReadFrom::Beginning).await.unwrap();
    read.pieces.next().await.unwrap().unwrap();
    engine.delete(&stream).await.unwrap();
    engine.create(&stream, plain()).await.unwrap();
    append(&engine, &stream, &"y".repeat(3_000_000)).await.unwrap();
    assert!(matches!(read.pieces.next().await, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn readers_of_a_large_message_share_it() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine
        .create(&stream, json(format!("\"{}\"", "x".repeat(3_000_000))))
        .await
        .unwrap();
    let read = || async {
        let mut read = engine.read(&stream, ReadFrom::Beginning).await.unwrap();
        read.pieces.next().await.unwrap().unwrap()
    };
    let first = read().await;
    let read_again = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&read_again);
    *storage.before_read.lock() = Some(Box::new(move || seen.store(true, SeqCst)));
    assert!(Arc::ptr_eq(&first, &read().await));
    assert!(!read_again.load(SeqCst), "the store was read again");
}
