//! Writes: nothing is judged on what another server has changed.

use super::*;

#[tokio::test]
async fn an_append_does_not_follow_another_servers_close() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "1").await.unwrap();
    // Closed before B judges, of which its memory knows nothing.
    let closed = a.engine.append(&stream, closing("2")).await.unwrap();
    let refused = append(&b.engine, &stream, "3").await;
    assert!(
        matches!(refused, Err(AppendError::Closed { tail }) if tail == closed.tail),
        "{refused:?}"
    );

    // Closed after B has judged.
    let stream = name("t");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "1").await.unwrap();
    let (other, closed) = (a.engine.clone(), stream.clone());
    b.between(async move {
        other.append(&closed, closing("")).await.unwrap();
    });
    let refused = append(&b.engine, &stream, "2").await;
    assert!(matches!(refused, Err(AppendError::Closed { .. })), "{refused:?}");
    assert_eq!(stored(&shared, &stream).await.unwrap(), "1");
}

#[tokio::test]
async fn appends_of_two_servers_land_in_order_without_being_judged_again() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut expected = String::new();
    for n in 0..20u64 {
        let server = if n % 3 == 0 { &a } else { &b };
        let appended = append(&server.engine, &stream, "x").await.unwrap();
        // Each append has a header of one byte.
        assert_eq!(appended.tail.position, 2 * (n + 1));
        expected.push('x');
    }
    // One that lands between the judgement of another and its commit.
    let (other, between) = (b.engine.clone(), stream.clone());
    a.between(async move {
        append(&other, &between, "first").await.unwrap();
    });
    let appended = append(&a.engine, &stream, "second").await.unwrap();
    assert_eq!(appended.tail.position, 40 + 6 + 7);
    assert_eq!(stored(&shared, &stream).await.unwrap(), expected + "firstsecond");
    assert_eq!((a.moves(), b.moves()), (0, 0));
}

#[tokio::test]
async fn a_follower_sees_what_another_server_appended_in_between() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut follower = a.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    append(&b.engine, &stream, "b").await.unwrap();
    append(&a.engine, &stream, "a").await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let Ok(Event::Chunk { chunk, .. }) = follower.next().await else {
            panic!("nothing")
        };
        seen.extend_from_slice(&chunk.body());
    }
    assert_eq!(seen, b"ba");
}

#[tokio::test]
async fn of_two_creates_one_creates() {
    let (shared, a, b) = servers();
    let stream = name("s");
    let (other, between) = (b.engine.clone(), stream.clone());
    a.between(async move { assert!(other.create(&between, plain()).await.unwrap().new) });
    assert!(!a.engine.create(&stream, plain()).await.unwrap().new);
    assert_eq!(shared.inner().usage().streams, 1);

    let stream = name("t");
    let (other, between) = (b.engine.clone(), stream.clone());
    a.between(async move { assert!(other.create(&between, plain()).await.unwrap().new) });
    let json = CreateRequest {
        content_type: Some(ContentType::parse("application/json").unwrap()),
        ..plain()
    };
    let refused = a.engine.create(&stream, json).await;
    assert!(
        matches!(refused, Err(CreateError::Exists("content type"))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_producer_may_change_servers() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let send = async |server: &Server, seq| server.engine.append(&stream, produced(seq)).await;
    assert!(!send(&a, 0).await.unwrap().duplicate);
    assert!(send(&b, 0).await.unwrap().duplicate);
    assert!(!send(&b, 1).await.unwrap().duplicate);
    assert!(!send(&b, 2).await.unwrap().duplicate);
    // A has last seen the producer at 0, and would accept 1 and refuse 3.
    assert!(send(&a, 1).await.unwrap().duplicate);
    assert!(!send(&a, 3).await.unwrap().duplicate);
    let gap = send(&b, 5).await;
    assert!(matches!(gap, Err(AppendError::SeqGap { expected: 4, .. })), "{gap:?}");
    // The same request through both servers at once.
    let (other, between) = (b.engine.clone(), stream.clone());
    a.between(async move { assert!(!other.append(&between, produced(4)).await.unwrap().duplicate) });
    assert!(send(&a, 4).await.unwrap().duplicate);
    assert_eq!(stored(&shared, &stream).await.unwrap(), "01234");
}

#[tokio::test]
async fn a_stream_in_memory_is_not_taken_for_its_successor() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "old").await.unwrap();
    a.engine.delete(&stream).await.unwrap();
    let gone = append(&b.engine, &stream, "x").await;
    assert!(matches!(gone, Err(AppendError::NotFound)), "{gone:?}");
    assert!(b.engine.create(&stream, plain()).await.unwrap().new);
    append(&a.engine, &stream, "1").await.unwrap();
    a.engine.delete(&stream).await.unwrap();
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "new").await.unwrap();
    assert_eq!(stored(&shared, &stream).await.unwrap(), "new");
}

#[tokio::test]
async fn a_source_is_kept_for_a_fork_that_another_server_made() {
    let (shared, a, b) = servers();
    let (source, fork) = (name("source"), name("fork"));
    a.engine.create(&source, plain()).await.unwrap();
    append(&b.engine, &source, "inherited").await.unwrap();
    let (other, from, to) = (a.engine.clone(), source.clone(), fork.clone());
    b.between(async move {
        append(&other, &from, "!").await.unwrap();
        other.create(&to, fork_of(&from)).await.unwrap();
    });
    b.engine.delete(&source).await.unwrap();
    assert_eq!(stored(&shared, &fork).await.unwrap(), "inherited!");
    assert!(matches!(stored(&shared, &source).await, Err(ReadError::Gone)));
    // The last fork takes its source along, wherever it is deleted.
    b.engine.delete(&fork).await.unwrap();
    assert_eq!(shared.inner().usage().streams, 0);
}

#[tokio::test]
async fn a_fork_does_not_outlive_a_delete_of_its_source() {
    let (shared, a, b) = servers();
    let (source, fork) = (name("source"), name("fork"));
    a.engine.create(&source, plain()).await.unwrap();
    let (other, doomed) = (b.engine.clone(), source.clone());
    a.between(async move { other.delete(&doomed).await.unwrap() });
    let refused = a.engine.create(&fork, fork_of(&source)).await;
    assert!(
        matches!(refused, Err(CreateError::Fork(ForkError::SourceNotFound))),
        "{refused:?}"
    );
    assert_eq!(shared.inner().usage().streams, 0);
}

#[tokio::test]
async fn appends_do_not_float_past_the_size_limit() {
    let shared = Shared::new();
    let mut config = unlimited();
    config.limits.max_stream_bytes = 10;
    config.limits.max_producers_per_stream = 0;
    let (a, b) = (Server::new(&shared, config.clone()), Server::new(&shared, config));
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "12345").await.unwrap();
    let refused = append(&a.engine, &stream, "1234567").await;
    assert!(matches!(refused, Err(AppendError::TooLarge(10))), "{refused:?}");
    append(&a.engine, &stream, "6789").await.unwrap();
    assert_eq!(stored(&shared, &stream).await.unwrap(), "123456789");
}

#[tokio::test]
async fn a_command_whose_streams_keep_moving_is_refused() {
    let (shared, a, _) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    a.connection.forced_moves.store(8, SeqCst);
    append(&a.engine, &stream, "1").await.unwrap();
    assert_eq!(a.moves(), 8);
    a.connection.forced_moves.store(9, SeqCst);
    let refused = append(&a.engine, &stream, "2").await;
    assert!(
        matches!(refused, Err(AppendError::Unavailable(Unavailable::Raced))),
        "{refused:?}"
    );
    append(&a.engine, &stream, "3").await.unwrap();
    assert_eq!(stored(&shared, &stream).await.unwrap(), "13");
}

#[tokio::test]
async fn a_group_that_moved_does_not_hold_the_others_up() {
    let shared = Shared::new();
    let a = Server::new(&shared, unlimited());
    let connection = shared.connect(true);
    let engine = serve(&connection, unlimited());
    let streams = [name("x"), name("y"), name("z")];
    for stream in &streams {
        a.engine.create(stream, plain()).await.unwrap();
        append(&engine, stream, "0").await.unwrap();
    }
    // The first append is on its way to the store while the two others are queued.
    let (on_its_way, go) = hold(&connection.before_commit);
    let [x, y, z] = &streams;
    let others = async {
        on_its_way.await.unwrap();
        a.engine.append(y, closing("")).await.unwrap();
        connection.commits.lock().clear();
        let release = async { go.send(()).unwrap() };
        let (y, z, ()) = tokio::join!(append(&engine, y, "1"), append(&engine, z, "1"), release);
        (y, z)
    };
    let (x, (y, z)) = tokio::join!(append(&engine, x, "1"), others);
    assert!(x.is_ok() && z.is_ok(), "{x:?} {z:?}");
    assert!(matches!(y, Err(AppendError::Closed { .. })), "{y:?}");
    let commits = connection.commits.lock().clone();
    // The append to `y` is judged again by itself, and its refusal holds.
    assert_eq!(commits, [vec![true], vec![false, true], vec![true]]);
}

#[tokio::test]
async fn a_producer_that_is_active_through_another_server_is_not_evicted() {
    let shared = Shared::new();
    let mut config = unlimited();
    config.limits.max_producers_per_stream = 3;
    let (a, b) = (Server::new(&shared, config.clone()), Server::new(&shared, config));
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let send = async |server: &Server, id: &str, seq| {
        shared.clock.advance(Duration::from_millis(1));
        let request = AppendRequest {
            producer: Some(ProducerStamp {
                id: id.into(),
                epoch: 0,
                seq,
            }),
            ..appending("x")
        };
        server.engine.append(&stream, request).await
    };
    for id in ["one", "two", "three"] {
        send(&a, id, 0).await.unwrap();
    }
    // To A's knowledge, this one was unused for longest when the fourth comes.
    send(&b, "one", 1).await.unwrap();
    send(&a, "four", 0).await.unwrap();
    assert!(!send(&b, "one", 2).await.unwrap().duplicate);
    // The second was evicted instead.
    let evicted = send(&b, "two", 1).await;
    assert!(
        matches!(evicted, Err(AppendError::SeqGap { expected: 0, .. })),
        "{evicted:?}"
    );
}

#[tokio::test]
async fn a_create_that_finds_a_stream_answers_its_present_tail() {
    let (_, a, b) = servers();
    let stream = name("s");
    b.engine.create(&stream, plain()).await.unwrap();
    b.engine.metadata(&stream).await.unwrap();
    a.engine.metadata(&stream).await.unwrap();
    let tail = append(&a.engine, &stream, "x").await.unwrap().tail;
    assert_eq!(b.engine.create(&stream, plain()).await.unwrap().tail, tail);
}

#[tokio::test]
async fn a_later_life_at_another_server_has_a_greater_incarnation() {
    let (_, a, b) = servers();
    // A allocates its ids before B does.
    a.engine.create(&name("first"), plain()).await.unwrap();
    let stream = name("s");
    let earlier = b.engine.create(&stream, plain()).await.unwrap();
    b.engine.delete(&stream).await.unwrap();
    let later = a.engine.create(&stream, plain()).await.unwrap();
    assert!(later.new);
    assert!(later.tail.incarnation > earlier.tail.incarnation);
}

/// Otherwise the fork's offsets would go down where its own content begins.
#[tokio::test]
async fn a_fork_at_another_server_has_a_greater_incarnation_than_its_source() {
    let (_, a, b) = servers();
    // A allocates its ids before B does.
    a.engine.create(&name("first"), plain()).await.unwrap();
    let (source, fork) = (name("s"), name("f"));
    b.engine.create(&source, plain()).await.unwrap();
    let inherited = append(&b.engine, &source, "x").await.unwrap().tail;
    a.engine.create(&fork, fork_of(&source)).await.unwrap();
    let own = append(&a.engine, &fork, "y").await.unwrap().tail;
    assert!(own.incarnation > inherited.incarnation, "{own} {inherited}");
}

#[tokio::test]
async fn a_refusal_after_a_close_of_the_same_batch_has_the_final_tail() {
    let shared = Shared::new();
    let a = Server::new(&shared, unlimited());
    let connection = shared.connect(true);
    let engine = serve(&connection, unlimited());
    let (first, stream) = (name("first"), name("s"));
    for stream in [&first, &stream] {
        a.engine.create(stream, plain()).await.unwrap();
        append(&engine, stream, "0").await.unwrap();
    }
    // One commit is on its way while a close and an append are queued, which make the next batch.
    let (on_its_way, go) = hold(&connection.before_commit);
    let others = async {
        on_its_way.await.unwrap();
        // This server does not know of it.
        append(&a.engine, &stream, "1").await.unwrap();
        let release = async { go.send(()).unwrap() };
        let (closed, refused, ()) = tokio::join!(
            engine.append(&stream, closing("")),
            append(&engine, &stream, "2"),
            release
        );
        (closed.unwrap(), refused)
    };
    let (_, (closed, refused)) = tokio::join!(append(&engine, &first, "1"), others);
    assert!(
        matches!(refused, Err(AppendError::Closed { tail }) if tail == closed.tail),
        "{closed:?} {refused:?}"
    );
}

/// Its clients have seen its offsets, which later lives must exceed.
#[tokio::test]
async fn a_life_within_one_batch_has_a_smaller_incarnation_than_the_next_one() {
    let shared = Shared::new();
    let a = Server::new(&shared, unlimited());
    let connection = shared.connect(true);
    let engine = serve(&connection, unlimited());
    // A allocates its ids before the other server does.
    let (first, stream) = (name("first"), name("s"));
    for stream in [&first, &stream] {
        a.engine.create(stream, plain()).await.unwrap();
        engine.metadata(stream).await.unwrap();
    }
    // One commit is on its way while two deletes and a create between them are queued, which make the next batch.
    let (on_its_way, go) = hold(&connection.before_commit);
    let others = async {
        on_its_way.await.unwrap();
        connection.commits.lock().clear();
        let release = async { go.send(()).unwrap() };
        tokio::join!(
            engine.delete(&stream),
            engine.create(&stream, plain()),
            engine.delete(&stream),
            release
        )
    };
    let (_, (earlier, created, last, ())) = tokio::join!(append(&engine, &first, "1"), others);
    let created = created.unwrap();
    assert!(earlier.is_ok() && created.new && last.is_ok());
    assert_eq!(*connection.commits.lock(), [vec![true], vec![true]]);
    let later = a.engine.create(&stream, plain()).await.unwrap();
    assert!(later.new);
    assert!(later.tail.incarnation > created.tail.incarnation);
}
