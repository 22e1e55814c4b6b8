//! A store that has lost acknowledged changes: nothing that was known counts, and no reader gets two
//! versions of one position without notice.

use super::*;
use crate::engine::snapshot::Gone;

/// Has the store lose what was committed after `batches`.
fn lose(shared: &Shared, batches: usize) {
    shared.lose_all_after(batches);
    shared.announce_history();
}

#[tokio::test]
async fn a_tail_that_went_back_ends_its_live_readers_and_others_go_on() {
    let (shared, a, b) = servers();
    let (lost, kept) = (name("lost"), name("kept"));
    let mut readers = Vec::new();
    for stream in [&lost, &kept] {
        a.engine.create(stream, plain()).await.unwrap();
        append(&a.engine, stream, "1").await.unwrap();
        readers.push(b.engine.follow(stream, ReadFrom::Beginning).await.unwrap());
        assert_eq!(seen(readers.last_mut().unwrap()).await, "1");
    }
    let before = shared.batches();
    let tail = append(&a.engine, &lost, "2").await.unwrap().tail;
    assert_eq!(seen(&mut readers[0]).await, "2");
    lose(&shared, before);
    let ended = seen(&mut readers[0]).await;
    assert!(ended.starts_with("Err(OtherLife"), "{ended}");
    append(&a.engine, &kept, "3").await.unwrap();
    assert_eq!(seen(&mut readers[1]).await, "3");
    // The offset is refused as long as it can be told.
    let refused = b.engine.read(&lost, ReadFrom::At(tail)).await.err();
    assert!(matches!(refused, Some(ReadError::OtherLife { .. })), "{refused:?}");
    assert_eq!(content(&a.engine, &lost).await.unwrap(), "1");
}

#[tokio::test]
async fn other_bytes_below_its_position_end_a_live_reader() {
    let cases: [(&[&str], bool); 4] = [
        (&["3"], true),
        (&["3", "4"], true),
        (&["2"], false),
        (&["2", "4"], false),
    ];
    for (written, ends) in cases {
        let (shared, a, b) = servers();
        let stream = name("s");
        a.engine.create(&stream, plain()).await.unwrap();
        append(&a.engine, &stream, "1").await.unwrap();
        let mut reader = b.engine.follow(&stream, ReadFrom::Beginning).await.unwrap();
        // One that has the content from another server.
        let c = Server::new(&shared, unlimited());
        let before = shared.batches();
        append(&a.engine, &stream, "2").await.unwrap();
        assert_eq!(seen(&mut reader).await, "12");
        let mut late = c.engine.follow(&stream, ReadFrom::Now).await.unwrap();
        shared.lose_all_after(before);
        // Before B has been told.
        for text in written {
            append(&a.engine, &stream, text).await.unwrap();
        }
        shared.announce_history();
        for reader in [&mut reader, &mut late] {
            let (then, expected) = (seen(reader).await, written[1..].concat());
            match ends {
                true => assert!(then.starts_with("Err(OtherLife"), "{written:?}: {then}"),
                false => assert_eq!(then, expected),
            }
        }
    }
}

#[tokio::test]
async fn a_reader_is_compared_in_each_history() {
    for delivers in [false, true] {
        let (shared, a, b) = servers();
        let stream = name("s");
        a.engine.create(&stream, plain()).await.unwrap();
        append(&a.engine, &stream, "1").await.unwrap();
        let mut reader = b.engine.follow(&stream, ReadFrom::Now).await.unwrap();
        if delivers {
            append(&a.engine, &stream, "2").await.unwrap();
            assert_eq!(seen(&mut reader).await, "2");
        }
        // Nothing is lost.
        lose(&shared, shared.batches());
        assert_eq!(seen(&mut reader).await, "");
        lose(&shared, shared.batches() - 1);
        append(&a.engine, &stream, "3").await.unwrap();
        append(&a.engine, &stream, "4").await.unwrap();
        let then = seen(&mut reader).await;
        assert!(then.starts_with("Err(OtherLife"), "{delivers}: {then}");
    }
}

/// Readers of the server that made a commit are given it as a whole, and chunks divide it.
#[tokio::test]
async fn a_live_reader_goes_on_after_a_large_commit_that_was_kept() {
    let (shared, a, b) = servers();
    let stream = name("s");
    let json = CreateRequest {
        content_type: Some(ContentType::parse("application/json").unwrap()),
        ..plain()
    };
    a.engine.create(&stream, json).await.unwrap();
    let message = "x".repeat(400 * 1024);
    let append = async |server: &Server, messages: &[&str]| {
        let request = AppendRequest {
            content_type: Some(ContentType::parse("application/json").unwrap()),
            body: serde_json::to_vec(messages).unwrap().into(),
            ..AppendRequest::default()
        };
        server.engine.append(&stream, request).await.unwrap().tail
    };
    let mut reader = a.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    let tail = append(&a, &[message.as_str(); 5]).await;
    assert!(!seen(&mut reader).await.contains("Err"));
    assert_eq!(reader.position(), tail);
    lose(&shared, shared.batches());
    append(&b, &["3"]).await;
    assert_eq!(seen(&mut reader).await, r#"["3"]"#);
}

#[tokio::test]
async fn the_identity_behind_entity_tags_changes_with_the_history() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let before = shared.batches();
    append(&a.engine, &stream, "old").await.unwrap();
    let old = b.engine.read(&stream, ReadFrom::Beginning).await.unwrap();
    let (identity, end) = (old.identity(), old.end);
    shared.lose_all_after(before);
    // Nobody has been told yet.
    append(&a.engine, &stream, "new").await.unwrap();
    let new = b.engine.read(&stream, ReadFrom::Beginning).await.unwrap();
    assert_eq!(new.end, end);
    assert_ne!(new.identity(), identity);
    assert_eq!(content(&b.engine, &stream).await.unwrap(), "new");
    // All servers agree, also those that start later.
    for server in [&a, &Server::new(&shared, unlimited())] {
        let read = server.engine.read(&stream, ReadFrom::Beginning).await.unwrap();
        assert_eq!(read.identity(), new.identity());
    }
}

#[tokio::test]
async fn a_write_that_was_judged_in_the_lost_history_is_not_made() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "1").await.unwrap();
    let before = shared.batches();
    assert!(!a.engine.append(&stream, produced(0)).await.unwrap().duplicate);
    let (store, batches) = (Arc::clone(&shared), before);
    a.between(async move { store.lose_all_after(batches) });
    let unknown = a.engine.append(&stream, produced(1)).await;
    assert!(
        matches!(unknown, Err(AppendError::Unavailable(Unavailable::Unknown(_)))),
        "{unknown:?}"
    );
    // The producer is where the new history has it.
    let gap = a.engine.append(&stream, produced(1)).await;
    assert!(matches!(gap, Err(AppendError::SeqGap { expected: 0, .. })), "{gap:?}");
    a.engine.append(&stream, produced(0)).await.unwrap();
    assert_eq!(stored(&shared, &stream).await.unwrap(), "10");
}

#[tokio::test]
async fn a_record_of_the_lost_history_is_not_mistaken_for_one_with_its_revision() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&a.engine, &stream, "1").await.unwrap();
    let before = shared.batches();
    // In the lost history the stream is closed, with its second revision.
    a.engine.append(&stream, closing("2")).await.unwrap();
    lose(&shared, before);
    // In the new one its second revision has a fork instead.
    b.engine.create(&name("f"), fork_of(&stream)).await.unwrap();
    append(&a.engine, &stream, "3").await.unwrap();
    assert_eq!(stored(&shared, &stream).await.unwrap(), "13");
}

#[tokio::test]
async fn a_stream_whose_creation_was_lost_is_gone() {
    let (shared, a, b) = servers();
    let stream = name("s");
    let before = shared.batches();
    a.engine.create(&stream, plain()).await.unwrap();
    let mut reader = b.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    lose(&shared, before);
    assert_eq!(seen(&mut reader).await, "Ok(Gone { softly: false })");
    assert!(b.engine.create(&stream, plain()).await.unwrap().new);
    append(&a.engine, &stream, "x").await.unwrap();
    assert_eq!(content(&b.engine, &stream).await.unwrap(), "x");
}

#[tokio::test]
async fn a_stream_of_an_earlier_history_is_not_taken_for_a_deleted_one() {
    let (shared, a, _b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let known = a.engine.find(&stream).await.unwrap().unwrap();
    let prepared = a.engine.prepare_append(Arc::clone(&known), produced(0)).await;
    let prepared = prepared.unwrap();
    // Nothing is lost.
    let batches = shared.batches();
    lose(&shared, batches);
    while known.gone().is_none() {
        tokio::task::yield_now().await;
    }
    let answer = a.engine.submit(prepared).await.unwrap();
    assert!(
        matches!(answer, Err(AppendError::Unavailable(Unavailable::Raced))),
        "{answer:?}"
    );
    assert!(!a.engine.append(&stream, produced(0)).await.unwrap().duplicate);
}

/// A delete that was judged on such a stream was acknowledged, and a create replaced the stream.
#[tokio::test]
async fn a_command_is_not_judged_on_a_stream_that_ends_while_it_is_looked_up() {
    for why in [Gone::Outdated, Gone::Deleted] {
        let (shared, a, b) = servers();
        let stream = name("s");
        a.engine.create(&stream, plain()).await.unwrap();
        append(&b.engine, &stream, "kept").await.unwrap();
        // As by another thread, after the committer has found the stream.
        let end = || a.engine.shared.cache.get(&stream).unwrap().end(why);
        end();
        assert!(!a.engine.create(&stream, plain()).await.unwrap().new, "{why:?}");
        assert_eq!(stored(&shared, &stream).await.unwrap(), "kept", "{why:?}");
        end();
        a.engine.delete(&stream).await.unwrap();
        let gone = stored(&shared, &stream).await;
        assert!(matches!(gone, Err(ReadError::NotFound)), "{why:?}: {gone:?}");
    }
}

#[tokio::test]
async fn a_read_that_has_begun_gets_no_bytes_of_another_history() {
    const LEN: usize = 512 * 1024;
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&a.engine, &stream, &"kept".repeat(LEN / 4)).await.unwrap();
    let before = shared.batches();
    append(&a.engine, &stream, &"lost".repeat(LEN / 4)).await.unwrap();
    let mut read = b.engine.read(&stream, ReadFrom::Beginning).await.unwrap();
    let first = read.pieces.next().await.unwrap().unwrap();
    assert!(first.body().starts_with(b"kept"));
    shared.lose_all_after(before);
    append(&a.engine, &stream, &"else".repeat(LEN / 4)).await.unwrap();
    while let Ok(Some(piece)) = read.pieces.next().await {
        assert!(piece.body().starts_with(b"kept"), "{:?}", &piece.body()[..8]);
        assert!(!piece.body().ends_with(b"else"));
    }
    assert!(content(&b.engine, &stream).await.unwrap().ends_with("else"));
}
