//! Changes whose client has disconnected, and changes that the store refuses.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;

use super::*;
use crate::{
    engine::{
        LogChange, LogWrite, Unavailable,
        tests::{FailingStore, Fault, shared_store::Shared},
    },
    subscriptions::{deliver, live::Subscription, state::Event, token::Secret},
};

const LEASE_END: Millis = NOW + LEASE.as_millis() as Millis;

/// A server with one subscription, and an event for it.
async fn woken() -> (Server, Arc<FailingStore>, Arc<Subscription>) {
    let store = FailingStore::new(0);
    let server = Server::start(Arc::clone(&store) as Arc<dyn Storage>, &Clock::manual(NOW));
    server.create("wake").await;
    server.subscribe("s", Some("e/*"), &[]).await;
    server.create("e/1").await;
    server.append("e/1").await;
    server.until_woken(1).await;
    let subscription = server.subscriptions.inner.get(&"s".into()).unwrap();
    (server, store, subscription)
}

async fn until_timer(subscription: &Subscription, at: Millis) {
    for _ in 0..2_000 {
        if *subscription.timer.lock() == Some(at) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the timer is {:?}", subscription.timer.lock());
}

/// A connection of HTTP/2 drops a request whose stream is reset, and the claim is already on its way.
#[tokio::test]
async fn a_claim_whose_worker_disconnects_ends_with_its_lease() {
    let (server, _, subscription) = woken().await;
    assert_eq!(*subscription.timer.lock(), None);
    let claim = server.claim("s").now_or_never();
    assert!(claim.is_none(), "the claim was faster than the test");
    until_timer(&subscription, LEASE_END).await;
}

#[tokio::test]
async fn a_delivery_is_repeated_whose_outcome_could_not_be_stored() {
    let (server, store, subscription) = woken().await;
    server.claim("s").await.unwrap();
    until_timer(&subscription, LEASE_END).await;
    let mut state = subscription.live.lock().await.state().cloned().unwrap();
    state.definition.delivery = Delivery::Webhook {
        url: "http://no.such.receiver".into(),
    };
    let delivery = deliver::Delivery::of(&subscription, &state, &[]).unwrap();
    *store.fault.lock() = Some(Fault::Refused);
    server.subscriptions.inner.deliver(&subscription, delivery, None).await;
    assert_eq!(*subscription.timer.lock(), Some(NOW + 1000));
}

/// A subscription that was deleted and created again may reach the same generation.
#[tokio::test]
async fn an_answer_to_another_wake_changes_nothing() {
    let (server, _, subscription) = woken().await;
    let before = subscription.live.lock().await.state().cloned().unwrap();
    let mut other = before.clone();
    other.wake.as_mut().unwrap().id = "another".to_owned();
    other.definition.delivery = Delivery::Webhook {
        url: "http://no.such.receiver".into(),
    };
    let delivery = deliver::Delivery::of(&subscription, &other, &[]).unwrap();
    server.subscriptions.inner.deliver(&subscription, delivery, None).await;
    let after = subscription.live.lock().await.state().cloned().unwrap();
    assert_eq!((after.generation, after.retry.is_some()), (before.generation, false));
    assert_eq!(after.wake.unwrap().id, before.wake.unwrap().id);
}

/// Its place may have another one, which has the same log.
#[tokio::test]
async fn a_subscription_that_was_deleted_is_not_read_again() {
    let (server, _, subscription) = woken().await;
    server.subscriptions.delete("s").await.unwrap();
    server.subscribe("s", Some("e/*"), &[]).await;
    let mut live = subscription.live.lock().await;
    live.distrust();
    assert!(
        !server
            .subscriptions
            .inner
            .refresh(&subscription, &mut live)
            .await
            .unwrap()
    );
    assert!(live.state.is_none());
}

#[tokio::test]
async fn a_subscription_that_could_not_be_stored_is_not_known() {
    let (server, store, _) = woken().await;
    let create = async |id: &str| {
        let definition = pulling(Some("e/*"));
        server.subscriptions.create(id, definition, vec![], root_url()).await
    };
    *store.unreadable.lock() = Some(Subscription::log_of("unread").unwrap());
    assert!(create("unread").await.is_err());
    *store.fault.lock() = Some(Fault::Refused);
    assert!(create("refused").await.is_err());
    assert_eq!(server.subscriptions.lag().0, 1);
    *store.fault.lock() = Some(Fault::Landed);
    assert!(create("landed").await.is_err());
    assert_eq!(server.subscriptions.read("landed").await.unwrap().generation, 0);
    assert_eq!(server.subscriptions.lag().0, 2);
}

/// Section 6.3: the status is `failed` while a retry is scheduled.
#[tokio::test]
async fn a_retry_ends_with_the_streams_it_was_for() {
    let (server, _, subscription) = woken().await;
    let inner = &server.subscriptions.inner;
    let failed = Event::Failed {
        failures: 1,
        next_attempt_at: NOW + 1000,
    };
    let mut live = subscription.live.lock().await;
    inner
        .commit(&subscription, &mut live, vec![failed], None)
        .await
        .unwrap();
    inner.arm(&subscription, &live, NOW);
    drop(live);
    server.engine.delete(&name("e/1")).await.unwrap();
    server.subscriptions.inner.schedule(&subscription);
    until_timer(&subscription, NOW + 1000).await;
    server.clock.advance(Duration::from_secs(2));
    for _ in 0..2_000 {
        let view = server.subscriptions.read("s").await.unwrap();
        if view.next_attempt_at.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the retry is still scheduled");
}

/// Anybody may send a token that looks right, for any id.
#[tokio::test]
async fn ids_that_are_only_asked_for_take_no_memory_while_the_store_is_away() {
    let shared = Shared::new();
    let connection = shared.connect(true);
    let server = Server::start(Arc::clone(&connection) as Arc<dyn Storage>, &shared.clock);
    server.create("x").await;
    let token = Secret::generate().unwrap().token(1);
    assert!(server.subscriptions.holder("a", &token).await.is_err());
    assert!(server.subscriptions.holder("b", &token).now_or_never().is_none());
    connection.away.store(true, Ordering::SeqCst);
    let asked = server.subscriptions.holder("c", &token).await;
    assert!(matches!(asked, Err(TokenError::Unavailable(_))));
    assert!(server.subscriptions.holder("d", &token).now_or_never().is_none());
    for id in ["e", "f"] {
        let created = server
            .subscriptions
            .create(id, pulling(None), vec![name("x")], root_url());
        assert!(created.await.is_err());
    }
    assert_eq!(server.subscriptions.lag().0, 0);
    connection.come_back();
    server.subscribe("e", None, &["x"]).await;
    assert_eq!(server.subscriptions.lag().0, 1);
}

/// It is read again at each retry.
#[tokio::test]
async fn the_log_lines_about_a_subscription_that_cannot_be_read_are_limited() {
    let (server, ..) = woken().await;
    let log = Subscription::log_of("d").unwrap();
    let damaged = LogChange::Append(Bytes::from_static(b"{\"event\":\"x\"},\n"));
    server
        .engine
        .write_log(&log, LogWrite::alone(None, damaged))
        .await
        .unwrap();
    let created = server
        .subscriptions
        .create("d", pulling(Some("d/*")), vec![], root_url());
    assert!(matches!(
        created.await,
        Err(CreateError::Unavailable(Unavailable::Damaged(_)))
    ));
    assert_eq!(server.subscriptions.inner.failures.allow("damaged subscription"), None);
}

/// The outcome of a change is unknown, and its marks are lost.
#[tokio::test]
async fn a_scan_reads_again_what_is_not_known() {
    let (server, _, subscription) = woken().await;
    server.subscriptions.set_paused("s", true).await.unwrap();
    *subscription.pending.lock() = Default::default();
    subscription.live.lock().await.distrust();
    server.subscriptions.inner.scan().await.unwrap();
    assert!(subscription.has_pending());
}
