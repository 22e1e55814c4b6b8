//! Live readers see every byte once and in order, however slow they are.

use std::time::Duration;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_each_byte_once() {
    const WRITERS: usize = 4;
    const APPENDS: usize = 200;
    let storage = Faulty::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();

    let mut readers = Vec::new();
    for reader in 0..6usize {
        let (engine, stream) = (engine.clone(), stream.clone());
        readers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut at = ReadFrom::Beginning;
            let mut end = engine.metadata(&stream).await.unwrap().earliest;
            loop {
                let mut follower = engine.follow(&stream, at).await.unwrap();
                // Some come back again and again, some are slow, some just stay.
                for turn in 0.. {
                    match follower.next().await.unwrap() {
                        Event::Chunk { chunk, .. } => {
                            assert_eq!(chunk.start, end);
                            end = chunk.end;
                            seen.extend_from_slice(chunk.stored());
                        }
                        Event::Closed => return seen,
                        Event::Gone { .. } => panic!("gone"),
                    }
                    if reader % 3 == 1 && turn == 5 {
                        break;
                    }
                    if reader % 3 == 2 {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                    }
                }
                at = ReadFrom::At(follower.position());
            }
        }));
    }
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (engine, stream) = (engine.clone(), stream.clone());
        writers.push(tokio::spawn(async move {
            for number in 0..APPENDS {
                append(&engine, &stream, &format!("{writer}:{number}\n")).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let close = AppendRequest {
        content_type: None,
        body: Bytes::new(),
        close: true,
        producer: None,
        stream_seq: None,
        writer: None,
    };
    engine.append(&stream, close).await.unwrap();
    let whole = content(&engine, &stream).await.unwrap();
    assert_eq!(whole.lines().count(), WRITERS * APPENDS);
    for writer in 0..WRITERS {
        let own = whole.lines().filter(|line| line.starts_with(&format!("{writer}:")));
        assert!(own.eq((0..APPENDS).map(|number| format!("{writer}:{number}"))));
    }
    for reader in readers {
        assert_eq!(String::from_utf8(reader.await.unwrap()).unwrap(), whole);
    }
}

#[tokio::test]
async fn a_message_larger_than_a_read_comes_alone_and_whole() {
    let storage = Faulty::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    let json = || Some(ContentType::parse("application/json").unwrap());
    let large = format!("\"{}\"", "x".repeat(5 * 1024 * 1024));
    let request = CreateRequest {
        content_type: json(),
        body: Bytes::from(format!("[1,{large},2]")),
        ..plain()
    };
    engine.create(&stream, request).await.unwrap();
    let mut from = ReadFrom::Beginning;
    let mut bodies = Vec::new();
    loop {
        let slice = engine.read(&stream, from).await.unwrap();
        bodies.push(String::from_utf8(slice.chunk.unwrap().body().to_vec()).unwrap());
        if slice.up_to_date {
            break;
        }
        from = ReadFrom::At(slice.end);
    }
    assert_eq!(bodies, ["[1]".to_owned(), format!("[{large}]"), "[2]".to_owned()]);
    let tail = engine.metadata(&stream).await.unwrap().tail;
    let inside = ReadFrom::At(crate::protocol::Offset { position: 5, ..tail });
    assert!(matches!(engine.read(&stream, inside).await, Err(ReadError::Bad(_))));
    assert!(matches!(engine.follow(&stream, inside).await, Err(ReadError::Bad(_))));
}
