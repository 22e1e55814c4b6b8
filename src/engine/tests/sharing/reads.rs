//! Fresh reads: a read that begins after an acknowledgement contains it, whoever gave it.

use super::*;

#[tokio::test]
async fn every_read_contains_what_another_server_acknowledged() {
    let (_, a, b) = servers();
    let (stream, fork) = (name("s"), name("f"));
    a.engine.create(&stream, plain()).await.unwrap();
    // Both have it in memory now.
    assert_eq!(content(&b.engine, &stream).await.unwrap(), "");
    append(&a.engine, &stream, "1").await.unwrap();
    assert_eq!(content(&b.engine, &stream).await.unwrap(), "1");
    let tail = append(&a.engine, &stream, "2").await.unwrap().tail;
    assert_eq!(b.engine.metadata(&stream).await.unwrap().tail, tail);
    let tail = append(&a.engine, &stream, "3").await.unwrap().tail;
    let stored = b.engine.read_stored(&stream, ReadFrom::Beginning, None).await.unwrap();
    assert_eq!(stored.end, tail);
    let tail = append(&a.engine, &stream, "4").await.unwrap().tail;
    let follower = b.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    assert_eq!(follower.position(), tail);
    drop(follower);
    append(&a.engine, &stream, "5").await.unwrap();
    b.engine.create(&fork, fork_of(&stream)).await.unwrap();
    assert_eq!(content(&a.engine, &fork).await.unwrap(), "12345");
    a.engine.append(&stream, closing("6")).await.unwrap();
    assert!(b.engine.metadata(&stream).await.unwrap().closed);
    a.engine.delete(&fork).await.unwrap();
    assert!(matches!(content(&b.engine, &fork).await, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn a_stream_created_anew_elsewhere_takes_the_place_of_its_predecessor() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&a.engine, &stream, "old").await.unwrap();
    let mut follower = b.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    let old = follower.identity();
    b.connection.hold_news();
    a.engine.delete(&stream).await.unwrap();
    a.engine.create(&stream, plain()).await.unwrap();
    append(&a.engine, &stream, "new").await.unwrap();
    assert_eq!(content(&b.engine, &stream).await.unwrap(), "new");
    let event = at_once(follower.next()).unwrap();
    assert!(matches!(event, Event::Gone { softly: false }), "{event:?}");
    let read = b.engine.read(&stream, ReadFrom::Beginning).await.unwrap();
    assert_ne!(read.identity(), old);
    assert_eq!(b.engine.streams_in_memory(), 1);
}

#[tokio::test]
async fn a_late_answer_does_not_bring_a_replaced_stream_back() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&a.engine, &stream, "old").await.unwrap();
    // The store has answered with the old stream when A itself replaces it.
    let (engine, replaced) = (a.engine.clone(), stream.clone());
    a.after_refresh(async move {
        engine.delete(&replaced).await.unwrap();
        engine.create(&replaced, plain()).await.unwrap();
        append(&engine, &replaced, "new").await.unwrap();
    });
    assert_eq!(content(&a.engine, &stream).await.unwrap(), "new");
    // The store has answered that there is none when A itself creates it.
    let (engine, created) = (a.engine.clone(), name("t"));
    a.after_refresh(async move {
        engine.create(&created, plain()).await.unwrap();
        append(&engine, &created, "created").await.unwrap();
    });
    assert_eq!(content(&a.engine, &name("t")).await.unwrap(), "created");
    assert_eq!(content(&b.engine, &name("t")).await.unwrap(), "created");
}

#[tokio::test]
async fn an_expected_offset_is_compared_with_the_tail_of_all_servers() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let before = append(&b.engine, &stream, "1").await.unwrap().tail;
    let tail = append(&a.engine, &stream, "2").await.unwrap().tail;
    let expecting = |offset| AppendRequest {
        expected_tail: Some(offset),
        ..appending("3")
    };
    let refused = b.engine.append(&stream, expecting(before)).await;
    assert!(
        matches!(refused, Err(AppendError::UnexpectedTail { tail: now }) if now == tail),
        "{refused:?}"
    );
    let tail = append(&a.engine, &stream, "2").await.unwrap().tail;
    b.engine.append(&stream, expecting(tail)).await.unwrap();
    assert_eq!(content(&a.engine, &stream).await.unwrap(), "1223");
}

#[tokio::test]
async fn a_read_of_what_another_server_has_trimmed_says_so() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, keeping(40)).await.unwrap();
    append(&a.engine, &stream, &"x".repeat(30)).await.unwrap();
    let start = b.engine.metadata(&stream).await.unwrap().earliest;
    let mut late = b.engine.follow(&stream, ReadFrom::At(start)).await.unwrap();
    b.connection.hold_news();
    for _ in 0..3 {
        append(&a.engine, &stream, &"y".repeat(30)).await.unwrap();
    }
    while a.connection.maintain().unwrap() {}
    b.engine.shared.chunks.clear();
    let lagging = late.next().await;
    assert!(matches!(lagging, Err(ReadError::Trimmed { .. })), "{lagging:?}");
}

// The store holds one of the threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_from_the_beginning_that_meets_a_trim_begins_where_the_stream_does_now() {
    let shared = Shared::new();
    let a = Server::new(&shared, unlimited());
    let connection = shared.connect(true);
    let engine = serve(&connection, unlimited());
    let stream = name("s");
    a.engine.create(&stream, keeping(40)).await.unwrap();
    append(&a.engine, &stream, &"x".repeat(30)).await.unwrap();
    let (under_way, go) = hold(&connection.after_refresh);
    let read = tokio::spawn({
        let (engine, stream) = (engine.clone(), stream.clone());
        async move { content(&engine, &stream).await }
    });
    under_way.await.unwrap();
    // The reader knows the stream as it was before.
    append(&a.engine, &stream, &"y".repeat(30)).await.unwrap();
    while a.connection.maintain().unwrap() {}
    go.send(()).unwrap();
    assert_eq!(read.await.unwrap().unwrap(), "y".repeat(30));
}

// The store holds one of the threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_wait_share_one_call() {
    let shared = Shared::new();
    let a = Server::new(&shared, unlimited());
    let connection = shared.connect(true);
    let engine = serve(&connection, unlimited());
    let streams: Vec<StreamName> = (0..10).map(|number| name(&format!("s{number}"))).collect();
    for stream in &streams {
        a.engine.create(stream, plain()).await.unwrap();
    }
    let (under_way, go) = hold(&connection.after_refresh);
    let read = |stream: &StreamName| {
        let (engine, stream) = (engine.clone(), stream.clone());
        tokio::spawn(async move { content(&engine, &stream).await.unwrap() })
    };
    let first = read(&streams[0]);
    under_way.await.unwrap();
    // The first call has its answer already, which is older than these.
    for stream in &streams {
        append(&a.engine, stream, "x").await.unwrap();
    }
    let others: Vec<_> = (0..100).map(|number| read(&streams[number % 10])).collect();
    while engine.shared.sharing.as_ref().unwrap().waiting() < 100 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    first.await.unwrap();
    for other in others {
        assert_eq!(other.await.unwrap(), "x");
    }
    assert_eq!(*connection.refreshes.lock(), [1, 10]);
}

// The store holds one of the threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_stream_fails_alone() {
    let shared = Shared::new();
    let a = Server::new(&shared, unlimited());
    let connection = shared.connect(true);
    let engine = serve(&connection, unlimited());
    let (sound, damaged) = (name("sound"), name("damaged"));
    for stream in [&sound, &damaged] {
        a.engine.create(stream, plain()).await.unwrap();
    }
    *connection.damaged.lock() = Some(damaged.clone());
    let (under_way, go) = hold(&connection.after_refresh);
    let read = |stream: &StreamName| {
        let (engine, stream) = (engine.clone(), stream.clone());
        tokio::spawn(async move { content(&engine, &stream).await })
    };
    let first = read(&sound);
    under_way.await.unwrap();
    let others = [read(&sound), read(&damaged)];
    while engine.shared.sharing.as_ref().unwrap().waiting() < 2 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    first.await.unwrap().unwrap();
    let [sound, damaged] = others;
    assert_eq!(sound.await.unwrap().unwrap(), "");
    let refused = damaged.await.unwrap();
    assert!(
        matches!(refused, Err(ReadError::Unavailable(Unavailable::Failed(_)))),
        "{refused:?}"
    );
    assert_eq!(*connection.refreshes.lock(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_keeps_nobody_waiting() {
    let shared = Shared::new();
    let connection = shared.connect(true);
    let engine = serve(&connection, unlimited());
    let stream = name("s");
    engine.create(&stream, plain()).await.unwrap();
    *connection.after_refresh.lock() = Some(Box::new(|| panic!("as the test wants it")));
    let refused = engine.metadata(&stream).await;
    assert!(
        matches!(refused, Err(ReadError::Unavailable(Unavailable::Stopping))),
        "{refused:?}"
    );
    let next = tokio::time::timeout(Duration::from_secs(60), engine.metadata(&stream)).await;
    next.unwrap().unwrap();
}
