//! What a server finds that takes over a store.

use super::*;
use crate::storage::{Storage, memory::InMemoryStorage};

fn store() -> Arc<dyn Storage> {
    Arc::new(InMemoryStorage::new(0))
}

#[tokio::test]
async fn a_restart_keeps_cursors_leases_and_generations() {
    let (store, clock) = (store(), Clock::manual(NOW));
    let server = Server::start(Arc::clone(&store), &clock);
    server.create("wake").await;
    server.subscribe("s", Some("a/*"), &["x"]).await;
    server.create("a/1").await;
    let first = server.append("a/1").await;
    server.append("a/1").await;
    let claimed = server.claim("s").await.unwrap();
    let ack = Ack {
        stream: name("a/1"),
        offset: first,
    };
    server.ack("s", &claimed, &[ack], false).await.unwrap();
    let before = server.cursors("s").await;
    server.end().await;

    let server = Server::start(Arc::clone(&store), &clock);
    assert_eq!(server.cursors("s").await, before);
    let refused = server.subscriptions.claim("s", "other").await;
    assert!(matches!(refused, Err(ClaimError::AlreadyClaimed { .. })), "{refused:?}");
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    assert!(matches!(server.claim("s").await, Err(ClaimError::NoPendingWork)));
}

/// The marks are lost with the process; the streams and cursors tell what is pending.
#[tokio::test]
async fn work_that_no_mark_tells_of_is_found_at_the_start() {
    let (store, clock) = (store(), Clock::manual(NOW));
    let server = Server::start(Arc::clone(&store), &clock);
    server.create("wake").await;
    server.create("a/1").await;
    server.subscribe("s", Some("a/*"), &["x"]).await;
    server.subscriptions.stop(Duration::ZERO).await;
    // Appended while nobody looks.
    server.append("a/1").await;
    server.create("a/2").await;
    server.append("a/2").await;
    server.create("x").await;
    server.append("x").await;
    server.create("a/empty").await;
    assert_eq!(server.woken().await, Vec::<u64>::new());
    server.engine.stop().await;

    let server = Server::start(Arc::clone(&store), &clock);
    assert_eq!(server.until_woken(1).await, [1]);
    let claimed = server.claim("s").await.unwrap();
    let mut streams: Vec<_> = claimed.streams.iter().map(|stream| stream.stream.to_string()).collect();
    streams.sort();
    assert_eq!(streams, ["a/1", "a/2", "x"]);
}

#[tokio::test]
async fn internal_streams_are_neither_listed_nor_counted_nor_watched() {
    let (store, clock) = (store(), Clock::manual(NOW));
    let server = Server::start(Arc::clone(&store), &clock);
    server.create("a").await;
    server.subscribe("s", Some("**"), &[]).await;
    let listed = async |server: &Server, prefix: &str| {
        let listing = server.engine.list(prefix.into(), None, 10).await.unwrap();
        listing.streams.len()
    };
    assert_eq!(listed(&server, "").await, 1);
    assert_eq!(listed(&server, "__ds").await, 0);
    assert_eq!(server.engine.usage().streams, 1);
    assert_eq!(store.usage().streams, 2);
    assert!(matches!(server.claim("s").await, Err(ClaimError::NoPendingWork)));
    server.end().await;
    let server = Server::start(store, &clock);
    server.subscriptions.read("s").await.unwrap();
    assert_eq!(server.engine.usage().streams, 1);
}

#[tokio::test]
async fn a_log_is_replaced_by_its_state_when_it_has_grown() {
    let (store, clock) = (store(), Clock::manual(NOW));
    let server = Server::start(Arc::clone(&store), &clock);
    server.subscribe("s", None, &["a"]).await;
    server.create("a").await;
    for _ in 0..400 {
        server.append("a").await;
        let claimed = server.claim("s").await.unwrap();
        server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap();
    }
    let log = StreamName::internal("subscriptions/s").unwrap();
    let stored = store.get(&log).unwrap().unwrap();
    assert!(stored.tail > 100_000, "{}", stored.tail);
    let kept = stored.tail - stored.record.first();
    assert!(kept < 80_000, "{kept}");
    let cursors = server.cursors("s").await;
    server.end().await;
    let server = Server::start(store, &clock);
    assert_eq!(server.cursors("s").await, cursors);
    assert_eq!(server.subscriptions.read("s").await.unwrap().generation, 400);
}
