//! Pull-wake subscriptions: links, cursors, claims, leases.

use super::*;
use crate::storage::memory::InMemoryStorage;

fn server() -> Server {
    Server::start(Arc::new(InMemoryStorage::new(0)), &Clock::manual(NOW))
}

#[tokio::test]
async fn existing_streams_are_linked_at_their_tails_and_later_ones_from_their_beginning() {
    let server = server();
    server.create("a/old").await;
    let tail = server.append("a/old").await;
    server.create("b/other").await;
    server.subscribe("s", Some("a/*"), &["x", "b/other"]).await;
    assert!(matches!(server.claim("s").await, Err(ClaimError::NoPendingWork)));

    server.create("a/new").await;
    let new = server.append("a/new").await;
    server.append("b/other").await;
    let claimed = server.claim("s").await.unwrap();
    let mut seen: Vec<_> = claimed
        .streams
        .iter()
        .map(|s| (s.stream.to_string(), s.acked, s.tail))
        .collect();
    seen.sort();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], ("a/new".into(), Offset::BEGINNING, new));
    assert_eq!(seen[1].0, "b/other");
    let cursors = server.cursors("s").await;
    assert!(cursors.contains(&("a/old".into(), tail)));
    assert!(cursors.contains(&("x".into(), Offset::BEGINNING)));
    assert_eq!(cursors.len(), 4);
}

#[tokio::test]
async fn a_wake_is_written_once_and_again_after_what_was_left() {
    let server = server();
    server.create("wake").await;
    server.subscribe("s", Some("a/*"), &[]).await;
    server.create("a/1").await;
    server.append("a/1").await;
    server.append("a/1").await;
    assert_eq!(server.until_woken(1).await, [1]);

    let claimed = server.claim("s").await.unwrap();
    assert_eq!(claimed.wake.generation, 1);
    let other = server.subscriptions.claim("s", "other").await;
    assert!(matches!(other, Err(ClaimError::AlreadyClaimed { holder, generation: 1 }) if holder == "w"),);
    // More comes while the worker works.
    let last = server.append("a/1").await;
    assert!(server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    assert_eq!(server.until_woken(2).await, [1, 2]);
    let again = server.claim("s").await.unwrap();
    assert_eq!((again.wake.generation, again.streams[0].tail), (2, last));
    assert!(!server.ack("s", &again, &all_of(&again), true).await.unwrap());
    assert_eq!(server.cursors("s").await, [("a/1".to_owned(), last)]);
    assert_eq!(server.woken().await, [1, 2]);
}

#[tokio::test]
async fn a_fenced_worker_moves_no_cursor() {
    let server = server();
    server.subscribe("s", Some("a/*"), &[]).await;
    server.create("a/1").await;
    server.append("a/1").await;
    let first = server.claim("s").await.unwrap();
    server.clock.advance(LEASE);
    let fenced = server.ack("s", &first, &all_of(&first), true).await;
    assert!(
        matches!(fenced, Err(AckError::Fenced)),
        "the lease has ended: {fenced:?}"
    );
    let second = server.claim("s").await.unwrap();
    assert!(second.wake.generation > first.wake.generation);
    for (token, wake) in [(&first, &first), (&first, &second), (&second, &first)] {
        let holder = server.subscriptions.holder("s", &token.token).await.unwrap();
        let refused = server
            .subscriptions
            .ack(&holder, &wake.wake, &all_of(&first), true)
            .await;
        assert!(matches!(refused, Err(AckError::Fenced)), "{refused:?}");
    }
    assert_eq!(server.cursors("s").await[0].1, Offset::BEGINNING);
    // A heartbeat extends the lease.
    server.clock.advance(LEASE - Duration::from_secs(1));
    assert!(!server.ack("s", &second, &[], false).await.unwrap());
    server.clock.advance(LEASE - Duration::from_secs(1));
    assert!(server.ack("s", &second, &all_of(&second), true).await.is_ok());
}

#[tokio::test]
async fn cursors_move_only_to_offsets_that_were_read() {
    let server = server();
    server.subscribe("s", Some("a/*"), &[]).await;
    server.create("a/1").await;
    let first = server.append("a/1").await;
    let second = server.append("a/1").await;
    server.create("other").await;
    let foreign = server.append("other").await;
    let claimed = server.claim("s").await.unwrap();
    let ack = |stream: &str, offset| Ack {
        stream: name(stream),
        offset,
    };
    let past = Offset {
        position: second.position + 1,
        ..second
    };
    let inside = Offset {
        position: first.position - 1,
        ..first
    };
    server.ack("s", &claimed, &[ack("a/1", first)], false).await.unwrap();
    for wrong in [
        ack("a/1", past),
        ack("a/1", inside),
        ack("a/1", foreign),
        ack("a/1", Offset::BEGINNING),
        ack("other", foreign),
        ack("none", first),
    ] {
        let both = [ack("a/1", second), wrong.clone()];
        let refused = server.ack("s", &claimed, &both, true).await;
        assert!(matches!(refused, Err(AckError::Bad(_))), "{wrong:?}: {refused:?}");
        assert_eq!(server.cursors("s").await, [("a/1".to_owned(), first)]);
    }
}

#[tokio::test]
async fn a_recreated_stream_is_read_from_its_beginning() {
    let server = server();
    server.subscribe("s", Some("a/*"), &["x"]).await;
    for stream in ["a/1", "x"] {
        server.create(stream).await;
        server.append(stream).await;
    }
    let claimed = server.claim("s").await.unwrap();
    server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap();
    for stream in ["a/1", "x"] {
        server.engine.delete(&name(stream)).await.unwrap();
        server.create(stream).await;
        server.append(stream).await;
    }
    let claimed = server.claim("s").await.unwrap();
    assert_eq!(claimed.streams.len(), 2);
    for stream in &claimed.streams {
        assert_eq!(stream.acked, Offset::BEGINNING, "{}", stream.stream);
    }
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
}

#[tokio::test]
async fn a_link_goes_with_its_stream_and_the_explicit_one_leaves_the_patterns() {
    let server = server();
    server.create("a/1").await;
    server.create("a/2").await;
    server.subscribe("s", Some("a/*"), &["a/1", "x"]).await;
    server.subscriptions.remove_stream("s", &name("a/1")).await.unwrap();
    server.subscriptions.remove_stream("s", &name("x")).await.unwrap();
    server.subscriptions.remove_stream("s", &name("never")).await.unwrap();
    let streams = async || -> Vec<String> {
        let cursors = server.cursors("s").await;
        cursors.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(streams().await, ["a/1", "a/2"]);
    server.engine.delete(&name("a/2")).await.unwrap();
    let _ = server.claim("s").await;
    assert_eq!(streams().await, ["a/1"]);
}

#[tokio::test]
async fn a_paused_subscription_wakes_nobody_until_it_is_resumed() {
    let server = server();
    server.create("wake").await;
    server.subscribe("s", Some("a/*"), &[]).await;
    server.subscriptions.set_paused("s", true).await.unwrap();
    server.create("a/1").await;
    server.append("a/1").await;
    assert!(matches!(server.claim("s").await, Err(ClaimError::Paused)));
    assert_eq!(server.woken().await, Vec::<u64>::new());
    assert!(!server.subscriptions.set_paused("s", false).await.unwrap().is_paused);
    assert_eq!(server.until_woken(1).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_although_the_clock_is_set() {
    for set_to in [NOW - 3_600_000, NOW + 31_000] {
        let server = server();
        server.create("wake").await;
        server.subscribe("s", Some("e/*"), &[]).await;
        server.create("e/1").await;
        server.append("e/1").await;
        server.until_woken(1).await;
        let claimed = server.claim("s").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.clock.set_millis(set_to);
        let set_at = tokio::time::Instant::now();
        assert_eq!(server.until_woken(2).await, [1, 2]);
        assert!(set_at.elapsed() < Duration::from_secs(6));
        let late = server.ack("s", &claimed, &all_of(&claimed), true).await;
        assert!(matches!(late, Err(AckError::Fenced)), "{late:?}");
        server.claim("s").await.unwrap();
    }
}

/// Nobody works the marks off meanwhile, and the streams may end.
#[tokio::test]
async fn a_paused_subscription_has_a_limited_number_of_marks_and_misses_nothing() {
    let server = server();
    server.create("wake").await;
    server.create("e/old").await;
    server.subscribe("s", Some("e/*"), &["x"]).await;
    server.subscriptions.set_paused("s", true).await.unwrap();
    let subscription = server.subscriptions.inner.get(&"s".into()).unwrap();
    for number in 0..20_000 {
        subscription.mark(&name(&format!("e/gone/{number}")), NOW);
    }
    assert_eq!(server.subscriptions.lag().1, 10_000);
    for stream in ["x", "e/1", "e/empty"] {
        server.create(stream).await;
    }
    server.append("x").await;
    server.append("e/1").await;
    server.engine.delete(&name("e/old")).await.unwrap();
    server.subscriptions.set_paused("s", false).await.unwrap();
    server.until_woken(1).await;
    let claimed = server.claim("s").await.unwrap();
    let streams: Vec<_> = claimed.streams.iter().map(|stream| stream.stream.as_str()).collect();
    assert_eq!(streams, ["x", "e/1"]);
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    assert_eq!(server.subscriptions.lag().1, 0);
    assert_eq!(server.cursors("s").await.len(), 2);
}

#[tokio::test]
async fn a_deleted_subscription_answers_like_one_that_never_was() {
    let server = server();
    server.subscribe("s", Some("a/*"), &[]).await;
    server.create("a/1").await;
    server.append("a/1").await;
    let claimed = server.claim("s").await.unwrap();
    let holder = server.subscriptions.holder("s", &claimed.token).await.unwrap();
    server.subscriptions.delete("s").await.unwrap();
    let refused = server.subscriptions.ack(&holder, &claimed.wake, &[], true).await;
    assert!(
        matches!(refused, Err(AckError::Token(TokenError::Invalid))),
        "{refused:?}"
    );
    for (id, token) in [("s", claimed.token.as_str()), ("never", "x"), ("", "")] {
        let refused = server.subscriptions.holder(id, token).await;
        assert!(matches!(refused, Err(TokenError::Invalid)), "{id}");
    }
    assert!(matches!(
        server.claim("s").await,
        Err(ClaimError::NotFound(NotFound::NotFound))
    ));
    // Its id is free, and the next one starts anew.
    assert_eq!(server.subscribe("s", Some("a/*"), &[]).await.generation, 0);
    assert!(server.subscriptions.holder("s", &claimed.token).await.is_err());
}

#[tokio::test]
async fn limits_refuse_what_would_exceed_them_and_change_nothing() {
    let config = SubscriptionsConfig {
        max_subscriptions: 1,
        max_links_per_subscription: 2,
        ..SubscriptionsConfig::default()
    };
    let server = Server::with(Arc::new(InMemoryStorage::new(0)), &Clock::manual(NOW), config);
    for stream in ["a/1", "a/2", "a/3"] {
        server.create(stream).await;
    }
    let create = async |id: &str, pattern: &str| {
        let definition = pulling(Some(pattern));
        server.subscriptions.create(id, definition, vec![], root_url()).await
    };
    assert!(matches!(create("s", "a/*").await, Err(CreateError::TooManyLinks)));
    assert!(create("s", "b/*").await.unwrap().0);
    assert!(matches!(
        create("t", "b/*").await,
        Err(CreateError::TooManySubscriptions(1))
    ));
    let too_many = ["1", "2", "3"].map(name).to_vec();
    let refused = server.subscriptions.add_streams("s", too_many).await;
    assert!(matches!(refused, Err(MemberError::TooManyLinks)));
    assert_eq!(server.cursors("s").await, []);
    assert_eq!(server.subscriptions.lag().0, 1);
}

#[tokio::test]
async fn an_append_of_a_stream_that_nobody_watches_is_not_marked() {
    let server = server();
    server.subscribe("s", Some("a/*"), &["x"]).await;
    for stream in ["b/1", "a/1", "x"] {
        server.create(stream).await;
    }
    server.append("b/1").await;
    let marks = server.subscriptions.inner.marks.take();
    assert!(!marks.names.contains(&name("b/1")));
    // A pattern that comes later counts for a stream that is in memory.
    server.subscribe("t", Some("b/*"), &[]).await;
    server.append("b/1").await;
    assert_eq!(server.claim("t").await.unwrap().streams[0].stream, name("b/1"));
}

#[tokio::test]
async fn a_subscription_does_not_wake_itself_by_its_own_wake_stream() {
    let server = server();
    server.create("wake").await;
    server.subscribe("s", Some("**"), &[]).await;
    server.create("a/1").await;
    server.append("a/1").await;
    assert_eq!(server.until_woken(1).await, [1]);
    let claimed = server.claim("s").await.unwrap();
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    assert!(matches!(server.claim("s").await, Err(ClaimError::NoPendingWork)));
    assert_eq!(server.woken().await, [1]);
    let streams: Vec<_> = server
        .cursors("s")
        .await
        .into_iter()
        .map(|(stream, _)| stream)
        .collect();
    assert_eq!(streams, ["a/1"]);

    let created = server
        .subscriptions
        .create("t", pulling(None), vec![name("wake")], root_url())
        .await;
    assert!(matches!(created, Err(CreateError::Bad(_))));
    let added = server.subscriptions.add_streams("s", vec![name("wake")]).await;
    assert!(matches!(added, Err(MemberError::Bad(_))));
}
