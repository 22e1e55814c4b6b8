//! The wakes of pull-wake subscriptions that no worker takes, and what they must not keep from being
//! announced.

use super::*;
use crate::storage::memory::InMemoryStorage;

fn store() -> Arc<dyn Storage> {
    Arc::new(InMemoryStorage::new(0))
}

/// A server with one subscription to `a/*` and `x`, and an event for it in `a/1`.
async fn woken(store: Arc<dyn Storage>) -> Server {
    let server = Server::start(store, &Clock::manual(NOW));
    server.create("wake").await;
    server.subscribe("s", Some("a/*"), &["x"]).await;
    server.create("a/1").await;
    server.append("a/1").await;
    assert_eq!(server.until_woken(1).await, [1]);
    server
}

#[tokio::test]
async fn workers_that_were_refused_during_a_pause_are_told_again() {
    let server = woken(store()).await;
    server.subscriptions.set_paused("s", true).await.unwrap();
    assert!(matches!(server.claim("s").await, Err(ClaimError::Paused)));
    server.subscriptions.set_paused("s", false).await.unwrap();
    assert_eq!(server.until_woken(2).await, [1, 2]);
    // A worker that has it keeps it.
    let claimed = server.claim("s").await.unwrap();
    server.subscriptions.set_paused("s", true).await.unwrap();
    server.subscriptions.set_paused("s", false).await.unwrap();
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    assert_eq!(server.woken().await, [1, 2]);
}

#[tokio::test]
async fn a_wake_without_work_does_not_hide_the_next_append() {
    let server = woken(store()).await;
    server.engine.delete(&name("a/1")).await.unwrap();
    assert!(matches!(server.claim("s").await, Err(ClaimError::NoPendingWork)));
    server.create("x").await;
    server.append("x").await;
    assert_eq!(server.until_woken(2).await, [1, 2]);
    assert_eq!(server.claim("s").await.unwrap().streams[0].stream, name("x"));
}

/// The worker that read the event may have ended with the server.
#[tokio::test]
async fn a_wake_that_nobody_has_claimed_is_announced_again_after_a_restart() {
    let store = store();
    let server = woken(Arc::clone(&store)).await;
    let clock = server.clock.clone();
    server.end().await;
    let server = Server::start(store, &clock);
    assert_eq!(server.until_woken(2).await, [1, 2]);
}

/// Workers ask at once when they are connected again.
#[tokio::test]
async fn a_claim_right_after_a_restart_finds_the_work_of_the_wake() {
    let store = store();
    let server = woken(Arc::clone(&store)).await;
    let clock = server.clock.clone();
    server.end().await;
    let server = Server::start(store, &clock);
    let mut loaded = server.subscriptions.inner.loaded.subscribe();
    loaded.wait_for(|loaded| *loaded).await.unwrap();
    let subscription = server.subscriptions.inner.get(&"s".into()).unwrap();
    *subscription.pending.lock() = Default::default();
    assert_eq!(server.claim("s").await.unwrap().streams[0].stream, name("a/1"));
}

async fn view(server: &Server) -> View {
    server.subscriptions.read("s").await.unwrap()
}

/// A server with one subscription, whose wake stream does not exist, and an event for it.
async fn refused() -> Server {
    let server = Server::start(store(), &Clock::manual(NOW));
    server.subscribe("s", Some("a/*"), &[]).await;
    server.create("a/1").await;
    server.append("a/1").await;
    while view(&server).await.next_attempt_at.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_wake_stream_refused_is_repeated() {
    let server = refused().await;
    assert_eq!(view(&server).await.generation, 1);
    // The stream has been forgotten, and is created now.
    server.create("wake").await;
    server.clock.advance(Duration::from_secs(2));
    assert_eq!(server.until_woken(1).await, [2]);
    let claimed = server.claim("s").await.unwrap();
    assert_eq!(view(&server).await.next_attempt_at, None);
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_refused_event_is_not_repeated_once_a_worker_has_claimed() {
    let server = refused().await;
    let claimed = server.claim("s").await.unwrap();
    server.create("wake").await;
    server.clock.advance(Duration::from_secs(2));
    server.append("a/1").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.woken().await, Vec::<u64>::new());
    assert!(server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    assert_eq!(server.until_woken(1).await, [2]);
}

/// Waits until a subscription has no link to a stream.
async fn until_unlinked(server: &Server, stream: &str) {
    for _ in 0..1_000 {
        if server.cursors("s").await.iter().all(|(linked, _)| linked != stream) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the link is still there");
}

/// An acknowledgement comes before any turn that could see the deletion.
#[tokio::test(start_paused = true)]
async fn the_link_of_a_stream_that_was_deleted_during_a_wake_goes() {
    let server = woken(store()).await;
    server.create("a/2").await;
    server.append("a/2").await;
    let claimed = server.claim("s").await.unwrap();
    assert_eq!(claimed.streams.len(), 2);
    server.engine.delete(&name("a/2")).await.unwrap();
    let acks: Vec<Ack> = all_of(&claimed)
        .into_iter()
        .filter(|ack| ack.stream == name("a/1"))
        .collect();
    server.ack("s", &claimed, &acks, true).await.unwrap();
    until_unlinked(&server, "a/2").await;
}

/// The mark of the deletion is lost with the server.
#[tokio::test(start_paused = true)]
async fn the_link_of_a_stream_that_was_deleted_before_a_restart_goes() {
    let store = store();
    let server = woken(Arc::clone(&store)).await;
    let claimed = server.claim("s").await.unwrap();
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    let clock = server.clock.clone();
    server.subscriptions.stop(Duration::ZERO).await;
    server.engine.delete(&name("a/1")).await.unwrap();
    server.engine.stop().await;
    let server = Server::start(store, &clock);
    until_unlinked(&server, "a/1").await;
    assert_eq!(server.cursors("s").await.len(), 1);
}

#[tokio::test]
async fn a_stream_that_a_pattern_follows_too_keeps_its_cursor_without_its_explicit_link() {
    let server = Server::start(store(), &Clock::manual(NOW));
    server.subscribe("s", Some("a/*"), &["a/1"]).await;
    server.create("a/1").await;
    let last = server.append("a/1").await;
    let claimed = server.claim("s").await.unwrap();
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    server.subscriptions.remove_stream("s", &name("a/1")).await.unwrap();
    assert_eq!(server.cursors("s").await, [("a/1".to_owned(), last)]);
    server.append("a/1").await;
    assert_eq!(server.claim("s").await.unwrap().streams[0].acked, last);
}
