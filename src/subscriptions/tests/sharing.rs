//! Several servers on one store: a generation is issued once, and whoever is asked knows the rest.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use super::*;
use crate::engine::{Unavailable, tests::shared_store::Shared};

fn servers() -> (Arc<Shared>, [Server; 2]) {
    let shared = Shared::new();
    let clock = shared.clock.clone();
    let servers = [(), ()].map(|()| Server::start(shared.connect(false), &clock));
    (shared, servers)
}

#[tokio::test(start_paused = true)]
async fn a_subscription_of_one_server_is_served_by_the_other() {
    let (_shared, [a, b]) = servers();
    a.create("wake").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    assert_eq!(b.subscriptions.read("s").await.unwrap().generation, 0);
    // Appended at the server that did not create it.
    b.create("e/1").await;
    b.append("e/1").await;
    assert_eq!(a.until_woken(1).await, [1]);
    // Claimed at one, acknowledged at the other.
    let claimed = a.claim("s").await.unwrap();
    assert!(matches!(b.claim("s").await, Err(ClaimError::AlreadyClaimed { .. })));
    let last = b.append("e/1").await;
    b.ack("s", &claimed, &all_of(&claimed), true).await.unwrap();
    assert_eq!(b.until_woken(2).await, [1, 2]);
    let again = a.claim("s").await.unwrap();
    a.ack("s", &again, &all_of(&again), true).await.unwrap();
    assert_eq!(b.cursors("s").await, [("e/1".to_owned(), last)]);
    b.subscriptions.delete("s").await.unwrap();
    assert!(a.subscriptions.read("s").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_learns_of_what_another_creates_and_deletes_without_being_asked() {
    let (_shared, [a, b]) = servers();
    let listed = async |server: &Server| server.subscriptions.list(None, 10).await.unwrap().0.len();
    a.create("x").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    assert_eq!(listed(&b).await, 0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(listed(&b).await, 1);
    assert_eq!((a.engine.usage().streams, b.engine.usage().streams), (1, 1));
    a.subscriptions.delete("s").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(listed(&b).await, 0);
    assert_eq!(b.engine.usage().streams, 1);
}

/// A server that ends with a lease, or between an append and its mark, leaves nothing undone.
#[tokio::test(start_paused = true)]
async fn the_work_of_a_server_that_ended_is_taken_over() {
    let (shared, [a, b]) = servers();
    a.create("wake").await;
    a.create("e/1").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    a.append("e/1").await;
    a.until_woken(1).await;
    let claimed = a.claim("s").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    // Its marks are lost with it.
    a.subscriptions.stop(Duration::ZERO).await;
    a.append("e/1").await;
    shared.clock.advance(LEASE);
    let mut woken = b.woken().await;
    for _ in 0..100 {
        shared.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        woken = b.woken().await;
        if woken.len() > 1 {
            break;
        }
    }
    assert_eq!(woken, [1, 2]);
    let late = b.ack("s", &claimed, &all_of(&claimed), true).await;
    assert!(matches!(late, Err(AckError::Fenced)), "{late:?}");
    let again = b.claim("s").await.unwrap();
    assert!(!b.ack("s", &again, &all_of(&again), true).await.unwrap());
}

/// No wake tells of it, and no server has marked it.
#[tokio::test(start_paused = true)]
async fn an_append_of_a_server_that_ended_before_its_mark_is_found() {
    let (shared, [a, b]) = servers();
    a.create("wake").await;
    a.create("e/1").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    a.subscriptions.stop(Duration::ZERO).await;
    a.append("e/1").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(b.woken().await.is_empty());
    shared.clock.advance(Duration::from_secs(61));
    assert_eq!(b.until_woken(1).await, [1]);
}

/// Nobody but this server can notice, and it cannot know.
#[tokio::test(start_paused = true)]
async fn an_append_of_unknown_outcome_wakes_workers_once_it_has_happened() {
    let shared = Shared::new();
    let connection = shared.connect(false);
    let server = Server::start(Arc::clone(&connection) as Arc<dyn Storage>, &shared.clock);
    server.create("wake").await;
    server.create("e/1").await;
    server.subscribe("s", Some("e/*"), &[]).await;
    for (woken, landed) in [(1, true), (2, false)] {
        *connection.unknown.lock() = Some(landed);
        assert!(server.try_append("e/1").await.is_err());
        if !landed {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(server.woken().await.len(), woken - 1);
            connection.commit_late();
        }
        server.until_woken(woken).await;
        let claimed = server.claim("s").await.unwrap();
        server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_forever_for_a_store_that_cannot_be_read() {
    let shared = Shared::new();
    let connection = shared.connect(false);
    connection.away.store(true, std::sync::atomic::Ordering::SeqCst);
    let server = Server::start(Arc::clone(&connection) as Arc<dyn Storage>, &shared.clock);
    let read = server.subscriptions.read("s");
    let refused = tokio::time::timeout(Duration::from_secs(10), read).await.unwrap();
    assert!(matches!(refused, Err(NotFound::Unavailable(Unavailable::Loading))));
    connection.come_back();
    let read = server.subscriptions.read("s").await;
    assert!(matches!(read, Err(NotFound::NotFound)));
}

/// Workers of both servers race for every generation while both append.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_never_give_out_the_same_generation() {
    let (_shared, [a, b]) = servers();
    a.create("wake").await;
    for stream in 0..3 {
        a.create(&format!("e/{stream}")).await;
    }
    a.subscribe("s", Some("e/*"), &[]).await;
    b.subscriptions.read("s").await.unwrap();
    let servers = Arc::new([a, b]);
    let given = Arc::new(Mutex::new(BTreeSet::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..4 {
        let (servers, given) = (Arc::clone(&servers), Arc::clone(&given));
        tasks.spawn(async move {
            for round in 0..50 {
                let (one, other) = (&servers[worker % 2], &servers[(worker + round) % 2]);
                one.append(&format!("e/{}", round % 3)).await;
                let Ok(claimed) = one.claim("s").await else { continue };
                assert!(
                    given.lock().insert(claimed.wake.generation),
                    "generation {} twice",
                    claimed.wake.generation
                );
                other.ack("s", &claimed, &all_of(&claimed), true).await.unwrap();
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    assert!(given.lock().len() > 10, "{}", given.lock().len());
    // What nobody has claimed is still pending; nothing else is.
    let server = &servers[0];
    while let Ok(claimed) = server.claim("s").await {
        server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap();
    }
    let mut last = Vec::new();
    for stream in 0..3 {
        let name = name(&format!("e/{stream}"));
        let tail = server.engine.extent(&name).await.unwrap().unwrap().tail();
        last.push((name.to_string(), tail));
    }
    // A server learns of the other's marks within seconds.
    for _ in 0..2000 {
        if servers[1].cursors("s").await == last {
            return;
        }
        for server in &*servers {
            if let Ok(claimed) = server.claim("s").await {
                server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap();
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(servers[1].cursors("s").await, last);
}
