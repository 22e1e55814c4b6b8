//! Live readers see every byte once and in order, however slow they are.

use std::time::Duration;

use tokio::sync::watch;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_each_byte_once() {
    const WRITERS: usize = 4;
    const APPENDS: usize = 200;
    /// More appends than live readers share in memory.
    const LAG: usize = 100;
    let engine = start(FailingStore::new(0));
    let (written, _) = watch::channel(0);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();

    let mut readers = Vec::new();
    for reader in 0..6usize {
        let (engine, stream, mut written) = (engine.clone(), stream.clone(), written.subscribe());
        readers.push(tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut at = ReadFrom::Beginning;
            let mut end = engine.metadata(&stream).await.unwrap().earliest;
            loop {
                let mut follower = engine.follow(&stream, at).await.unwrap();
                // Some come back again and again, some lag behind, some just stay.
                for turn in 0.. {
                    if reader % 3 == 2 {
                        let wanted = (LAG * (turn + 1)).min(WRITERS * APPENDS);
                        written.wait_for(|written| *written >= wanted).await.unwrap();
                    }
                    match follower.next().await.unwrap() {
                        Event::Chunk { chunk, .. } => {
                            assert_eq!(chunk.start, end);
                            end = chunk.end;
                            seen.extend_from_slice(chunk.stored());
                        }
                        Event::Closed => return seen,
                        event => panic!("{event:?}"),
                    }
                    if reader % 3 == 1 && turn == 5 {
                        break;
                    }
                }
                at = ReadFrom::At(follower.position());
            }
        }));
    }
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (engine, stream, written) = (engine.clone(), stream.clone(), written.clone());
        writers.push(tokio::spawn(async move {
            for number in 0..APPENDS {
                append(&engine, &stream, &format!("{writer}:{number}\n")).await.unwrap();
                written.send_modify(|written| *written += 1);
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let close = AppendRequest {
        body: Bytes::new(),
        close: true,
        ..AppendRequest::default()
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

#[tokio::test(start_paused = true)]
async fn a_character_is_never_split() {
    let engine = start(FailingStore::new(0) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    let mut live = engine
        .follow(&stream, ReadFrom::Now)
        .await
        .unwrap()
        .in_whole_characters();
    let euro = "\u{20ac}".as_bytes();
    for part in [&b"a"[..], &euro[..1], &euro[1..2], &euro[2..], b"b\xf0"] {
        bytes(&engine, &stream, part, false).await;
    }
    let mut late = engine
        .follow(&stream, ReadFrom::Beginning)
        .await
        .unwrap()
        .in_whole_characters();
    for reader in [&mut live, &mut late] {
        assert_eq!(next(reader).await, (b"a".to_vec(), false, false));
        assert_eq!(next(reader).await, ("\u{20ac}".as_bytes().to_vec(), true, false));
    }
    for reader in [&mut live, &mut late] {
        let waited = tokio::time::timeout(Duration::from_secs(3600), reader.next()).await;
        assert!(waited.is_err(), "{waited:?}");
    }
    bytes(&engine, &stream, b"", true).await;
    for reader in [&mut live, &mut late] {
        assert_eq!(next(reader).await, (b"b\xf0".to_vec(), true, true));
    }
}

async fn bytes(engine: &Engine, stream: &StreamName, bytes: &[u8], close: bool) {
    let request = AppendRequest {
        content_type: Some(ContentType::parse("text/plain").unwrap()),
        body: Bytes::copy_from_slice(bytes),
        close,
        ..AppendRequest::default()
    };
    engine.append(stream, request).await.unwrap();
}

/// The next event: its bytes, whether the reader is up to date, and whether the stream is closed.
async fn next(follower: &mut Follower) -> (Vec<u8>, bool, bool) {
    match follower.next().await.unwrap() {
        Event::Chunk {
            chunk,
            up_to_date,
            closed,
        } => (chunk.body().to_vec(), up_to_date, closed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_chunk_holds_at_least_one_append() {
    let engine = start(FailingStore::new(0) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    let appends = [
        "a".repeat(500),
        "b".repeat(10),
        "c".repeat(300_000),
        "é".repeat(200_000),
        "d".into(),
    ];
    for append in &appends {
        super::append(&engine, &stream, append).await.unwrap();
    }
    let found = engine.find_readable(&stream).await.unwrap();
    let tail = found.snapshot().tail;
    for wanted in [1, 100, 600, 1 << 20] {
        let (mut at, mut content, mut pieces) = (0, String::new(), 0);
        while at < tail {
            let chunk = load::load(&*engine.shared.storage, &found, at, tail.min(at + wanted), tail).unwrap();
            assert!(chunk.end.position > at, "nothing at {at}");
            at = chunk.end.position;
            content.push_str(std::str::from_utf8(chunk.stored()).unwrap());
            pieces += 1;
        }
        assert_eq!(at, tail);
        assert!(content == appends.concat(), "{wanted}");
        assert!(wanted > 1 || pieces == appends.len(), "{pieces} pieces");
    }
}
