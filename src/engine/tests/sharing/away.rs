//! A store that cannot be reached, and commits of which nobody knows the outcome.

use super::*;

fn is_away<T: std::fmt::Debug>(error: &Result<T, Unavailable>) -> bool {
    matches!(error, Err(Unavailable::Away(_)))
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_requests_are_refused_and_live_readers_stay() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut reader = b.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    b.connection.away.store(true, SeqCst);
    b.connection.hold_news();
    let refused = append(&b.engine, &stream, "x").await;
    assert!(
        matches!(refused, Err(AppendError::Unavailable(Unavailable::Away(_)))),
        "{refused:?}"
    );
    let refused = content(&b.engine, &stream).await;
    assert!(
        matches!(refused, Err(ReadError::Unavailable(Unavailable::Away(_)))),
        "{refused:?}"
    );
    assert!(is_away(&b.engine.list(String::new(), None, 1).await));
    append(&a.engine, &stream, "1").await.unwrap();
    assert_eq!(seen(&mut reader).await, "");
    b.connection.lose_news();
    assert_eq!(seen(&mut reader).await, "");
    b.connection.come_back();
    let event = tokio::time::timeout(Duration::from_secs(10), reader.next())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(event, Event::Chunk { .. }), "{event:?}");
    append(&b.engine, &stream, "2").await.unwrap();
    assert_eq!(content(&a.engine, &stream).await.unwrap(), "12");
}

#[tokio::test(start_paused = true)]
async fn a_live_reader_that_lags_waits_for_the_store() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&a.engine, &stream, "1").await.unwrap();
    let mut reader = b.engine.follow(&stream, ReadFrom::Beginning).await.unwrap();
    b.connection.away.store(true, SeqCst);
    assert_eq!(seen(&mut reader).await, "");
    // Nothing is published at the return: the reader looks by itself.
    b.connection.away.store(false, SeqCst);
    let event = tokio::time::timeout(Duration::from_secs(10), reader.next())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(event, Event::Chunk { .. }), "{event:?}");
}

#[tokio::test]
async fn an_unknown_outcome_is_never_answered_as_known() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut content_so_far = String::new();
    for (seq, landed) in [(0, true), (1, false), (2, true)] {
        let mut reader = a.engine.follow(&stream, ReadFrom::Now).await.unwrap();
        *a.connection.unknown.lock() = Some(landed);
        let unknown = a.engine.append(&stream, produced(seq)).await;
        assert!(
            matches!(unknown, Err(AppendError::Unavailable(Unavailable::Unknown(_)))),
            "{unknown:?}"
        );
        if landed {
            content_so_far += &seq.to_string();
            // This server's own reader, which gets no news of this server's commits.
            assert_eq!(seen(&mut reader).await, seq.to_string());
        }
        assert_eq!(content(&a.engine, &stream).await.unwrap(), content_so_far);
        assert_eq!(content(&b.engine, &stream).await.unwrap(), content_so_far);
        // A producer's retry is harmless, through any server.
        let server = if seq == 2 { &b } else { &a };
        let repeated = server.engine.append(&stream, produced(seq)).await.unwrap();
        assert_eq!(repeated.duplicate, landed);
        if !landed {
            content_so_far += &seq.to_string();
        }
        assert_eq!(stored(&shared, &stream).await.unwrap(), content_so_far);
    }
}

#[tokio::test]
async fn a_create_or_delete_of_unknown_outcome_is_looked_up() {
    let (_, a, b) = servers();
    let stream = name("s");
    *a.connection.unknown.lock() = Some(true);
    assert!(a.engine.create(&stream, plain()).await.is_err());
    append(&b.engine, &stream, "x").await.unwrap();
    assert_eq!(content(&a.engine, &stream).await.unwrap(), "x");
    assert!(!a.engine.create(&stream, plain()).await.unwrap().new);
    *a.connection.unknown.lock() = Some(true);
    assert!(a.engine.delete(&stream).await.is_err());
    assert!(matches!(content(&a.engine, &stream).await, Err(ReadError::NotFound)));
    assert!(a.engine.create(&stream, plain()).await.unwrap().new);
    assert_eq!(content(&b.engine, &stream).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_happens_after_its_outcome_was_unknown_reaches_live_readers() {
    let (_, a, _) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut reader = a.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    *a.connection.unknown.lock() = Some(false);
    assert!(append(&a.engine, &stream, "late").await.is_err());
    assert_eq!(seen(&mut reader).await, "");
    a.connection.commit_late();
    let event = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
    assert!(matches!(event, Ok(Ok(Event::Chunk { .. }))), "{event:?}");
}

/// Starts a request on each stream, and returns once all of them are queued.
async fn queue<F: Future + Send + 'static>(
    engine: &Engine,
    streams: &[StreamName],
    request: impl Fn(Engine, StreamName) -> F,
) -> Vec<tokio::task::JoinHandle<F::Output>>
where
    F::Output: Send,
{
    let start = |stream: &StreamName| tokio::spawn(request(engine.clone(), stream.clone()));
    let requests = streams.iter().map(start).collect();
    while engine.shared.committer.queued() < streams.len() {
        tokio::task::yield_now().await;
    }
    requests
}

fn names(count: usize) -> Vec<StreamName> {
    (0..count).map(|number| name(&format!("s{number}"))).collect()
}

/// A store that hangs takes seconds for each call.
#[tokio::test]
async fn a_batch_asks_a_store_that_is_away_once() {
    let shared = Shared::new();
    let connection = shared.connect(true);
    let (engine, streams) = (serve(&connection, unlimited()), names(20));
    let held = hold_committer(&engine).await;
    let create = |engine: Engine, stream: StreamName| async move { engine.create(&stream, plain()).await };
    let creates = queue(&engine, &streams, create).await;
    connection.away.store(true, SeqCst);
    drop(held);
    for create in creates {
        let refused = create.await.unwrap();
        assert!(
            matches!(refused, Err(CreateError::Unavailable(Unavailable::Away(_)))),
            "{refused:?}"
        );
    }
    // The command that held the committer asks as well, and so does work in the background.
    assert!(connection.refused.load(SeqCst) < 10);
    connection.away.store(false, SeqCst);
    assert!(engine.create(&streams[0], plain()).await.unwrap().new);
}

#[tokio::test]
async fn a_batch_that_finds_the_store_away_while_it_is_judged_does_not_ask_it_again() {
    let shared = Shared::new();
    let connection = shared.connect(true);
    let (engine, streams) = (serve(&connection, unlimited()), names(20));
    for stream in &streams {
        engine.create(stream, plain()).await.unwrap();
    }
    let held = hold_committer(&engine).await;
    let produce = |engine: Engine, stream: StreamName| async move { engine.append(&stream, produced(0)).await };
    let appends = queue(&engine, &streams, produce).await;
    connection.away.store(true, SeqCst);
    drop(held);
    for append in appends {
        let refused = append.await.unwrap();
        assert!(
            matches!(refused, Err(AppendError::Unavailable(Unavailable::Away(_)))),
            "{refused:?}"
        );
    }
    // The commit asks as well.
    assert!(connection.refused.load(SeqCst) < 10);
}

#[tokio::test]
async fn the_streams_of_a_batch_are_looked_up_together() {
    let shared = Shared::new();
    let a = Server::new(&shared, unlimited());
    let connection = shared.connect(true);
    let (engine, streams) = (serve(&connection, unlimited()), names(20));
    a.engine.create(&streams[7], plain()).await.unwrap();
    let held = hold_committer(&engine).await;
    let create = |engine: Engine, stream: StreamName| async move { engine.create(&stream, plain()).await };
    let creates = queue(&engine, &streams, create).await;
    drop(held);
    for (number, create) in creates.into_iter().enumerate() {
        assert_eq!(create.await.unwrap().unwrap().new, number != 7);
    }
    assert_eq!(*connection.refreshes.lock(), [20]);
    assert_eq!(stored(&shared, &streams[19]).await.unwrap(), "");
}
