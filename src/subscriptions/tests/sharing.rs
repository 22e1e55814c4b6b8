//! Several servers on one store: a generation is issued once, and whoever is asked knows the rest.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;

use super::{
    super::state::{Event, VERSION},
    *,
};
use crate::{
    engine::{
        Unavailable,
        tests::shared_store::{Connection, Shared, hold},
    },
    storage::Duty,
};

struct Two {
    shared: Arc<Shared>,
    connections: [Arc<Connection>; 2],
    servers: [Server; 2],
}

impl Two {
    /// The second one looks after the work of both.
    fn start() -> Self {
        let shared = Shared::new();
        let connections = [(), ()].map(|()| shared.connect(false));
        connections[1].takes(Duty::Subscriptions);
        let servers = [0, 1].map(|number: usize| {
            let connection = Arc::clone(&connections[number]);
            Server::start(connection as Arc<dyn Storage>, &shared.clock)
        });
        Self {
            shared,
            connections,
            servers,
        }
    }
}

/// Long enough for news and for the server that looks after the others, and much shorter than the
/// time between two comparisons of everything.
async fn moment() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

async fn listed(server: &Server) -> usize {
    server.subscriptions.list(None, 10).await.unwrap().0.len()
}

#[tokio::test(start_paused = true)]
async fn a_subscription_of_one_server_is_served_by_the_other() {
    let Two { servers: [a, b], .. } = Two::start();
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
async fn a_server_lists_at_once_what_another_creates_and_deletes() {
    let Two { servers: [a, b], .. } = Two::start();
    a.create("x").await;
    moment().await;
    a.subscribe("s", Some("e/*"), &[]).await;
    assert_eq!(listed(&b).await, 1);
    a.subscriptions.delete("s").await.unwrap();
    assert_eq!(listed(&b).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_learns_of_what_another_creates_and_deletes_without_being_asked() {
    let Two { servers: [a, b], .. } = Two::start();
    a.create("x").await;
    moment().await;
    a.subscribe("s", Some("e/*"), &["x"]).await;
    moment().await;
    assert_eq!(b.subscriptions.lag().0, 1);
    assert_eq!((a.engine.usage().streams, b.engine.usage().streams), (1, 1));
    a.subscriptions.delete("s").await.unwrap();
    moment().await;
    assert_eq!(b.subscriptions.lag().0, 0);
    assert_eq!((a.engine.usage().streams, b.engine.usage().streams), (1, 1));
    // Nothing of it is left but the log of announcements.
    let sources = [&a, &b].map(|server| server.subscriptions.inner.marks.sources());
    assert_eq!(sources, [1, 1]);
}

/// The server that appends has not heard of the subscription yet.
#[tokio::test(start_paused = true)]
async fn an_append_wakes_a_subscription_that_another_server_has_just_created() {
    let Two {
        connections: [_, late],
        servers: [a, b],
        ..
    } = Two::start();
    a.create("wake").await;
    b.create("n").await;
    moment().await;
    late.hold_news();
    a.subscribe("s", Some("e/*"), &["n"]).await;
    b.create("e/1").await;
    b.append("e/1").await;
    b.append("n").await;
    late.lose_news();
    a.until_woken(1).await;
    let claimed = a.claim("s").await.unwrap();
    let streams: BTreeSet<_> = claimed.streams.iter().map(|stream| stream.stream.to_string()).collect();
    assert_eq!(streams, ["e/1".to_owned(), "n".to_owned()].into());
}

#[tokio::test(start_paused = true)]
async fn an_append_wakes_a_subscription_to_which_another_server_has_just_added_the_stream() {
    let Two { servers: [a, b], .. } = Two::start();
    a.create("wake").await;
    b.create("n").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    moment().await;
    a.subscriptions.add_streams("s", vec![name("n")]).await.unwrap();
    b.append("n").await;
    assert_eq!(a.until_woken(1).await, [1]);
}

/// The server that is asked has marked nothing.
#[tokio::test(start_paused = true)]
async fn a_claim_finds_what_was_appended_through_another_server() {
    let Two {
        connections: [_, silent],
        servers: [a, b],
        ..
    } = Two::start();
    a.create("wake").await;
    a.create("n").await;
    a.subscribe("s", Some("e/*"), &["n"]).await;
    moment().await;
    silent.hold_news();
    a.subscriptions.stop(Duration::ZERO).await;
    a.create("e/1").await;
    for stream in ["n", "e/1", "e/1"] {
        a.append(stream).await;
        let claimed = b.claim("s").await.unwrap();
        assert_eq!(claimed.streams.len(), 1, "{stream}");
        b.ack("s", &claimed, &all_of(&claimed), true).await.unwrap();
    }
    assert!(matches!(b.claim("s").await, Err(ClaimError::NoPendingWork)));
}

#[tokio::test]
async fn acknowledgements_of_many_streams_take_few_round_trips() {
    let shared = Shared::new();
    let connection = shared.connect(true);
    let a = Server::start(Arc::clone(&connection) as Arc<dyn Storage>, &shared.clock);
    a.create("wake").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    let mut acks = Vec::new();
    for number in 0..100 {
        let stream = format!("e/{number}");
        a.create(&stream).await;
        let offset = a.append(&stream).await;
        a.append(&stream).await;
        let stream = name(&stream);
        acks.push(Ack { stream, offset });
    }
    let claimed = a.claim("s").await.unwrap();
    connection.refreshes.lock().clear();
    a.ack("s", &claimed, &acks, false).await.unwrap();
    let calls = connection.refreshes.lock().len();
    assert!(calls < 20, "{calls}");
    assert!(
        a.cursors("s")
            .await
            .iter()
            .all(|(_, acked)| acks.iter().any(|ack| ack.offset == *acked))
    );
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_knows_of_what_was_appended_through_another_server() {
    let Two {
        connections: [_, silent],
        servers: [a, b],
        ..
    } = Two::start();
    a.create("wake").await;
    a.create("e/1").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    moment().await;
    a.append("e/1").await;
    let claimed = b.claim("s").await.unwrap();
    silent.hold_news();
    a.append("e/1").await;
    assert!(b.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
}

/// A server that ends with a lease, or between an append and its mark, leaves nothing undone.
#[tokio::test(start_paused = true)]
async fn the_work_of_a_server_that_ended_is_taken_over() {
    let Two {
        shared,
        servers: [a, b],
        ..
    } = Two::start();
    a.create("wake").await;
    a.create("e/1").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    a.append("e/1").await;
    a.until_woken(1).await;
    let claimed = a.claim("s").await.unwrap();
    moment().await;
    // Its marks are lost with it.
    a.subscriptions.stop(Duration::ZERO).await;
    a.append("e/1").await;
    shared.clock.advance(LEASE + Duration::from_secs(2));
    moment().await;
    assert_eq!(b.woken().await, [1, 2]);
    let late = b.ack("s", &claimed, &all_of(&claimed), true).await;
    assert!(matches!(late, Err(AckError::Fenced)), "{late:?}");
    let again = b.claim("s").await.unwrap();
    assert!(!b.ack("s", &again, &all_of(&again), true).await.unwrap());
}

/// The news of the append mark it at the server that has the duty.
#[tokio::test(start_paused = true)]
async fn an_append_to_a_linked_stream_wakes_although_its_server_ended_before_its_mark() {
    let Two { servers: [a, b], .. } = Two::start();
    a.create("wake").await;
    a.create("e/1").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    moment().await;
    a.subscriptions.stop(Duration::ZERO).await;
    a.append("e/1").await;
    moment().await;
    assert_eq!(b.woken().await, [1]);
}

/// The search for appends to newly watched streams is one that may take long.
#[tokio::test(start_paused = true)]
async fn a_search_of_many_streams_does_not_hold_the_duty_up() {
    let Two {
        connections: [_, searching],
        servers: [a, b],
        ..
    } = Two::start();
    a.create("wake").await;
    a.create("e/1").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    moment().await;
    let (is_searching, go) = hold(&searching.before_list);
    a.subscribe("t", Some("f/**"), &[]).await;
    is_searching.await.unwrap();
    a.subscriptions.stop(Duration::ZERO).await;
    a.append("e/1").await;
    // The paused clock stands still by itself while a thread is busy.
    for _ in 0..1000 {
        tokio::time::advance(Duration::from_millis(5)).await;
        tokio::task::yield_now().await;
    }
    let woken = a.woken().await;
    go.send(()).unwrap();
    b.end().await;
    assert_eq!(woken, [1]);
}

/// An append in between would be marked by nobody.
#[tokio::test]
async fn a_stream_is_watched_all_the_time_while_a_log_is_compacted() {
    let Two { servers: [a, _b], .. } = Two::start();
    a.create("n").await;
    a.subscribe("s", Some("e/*"), &["n"]).await;
    let inner = &a.subscriptions.inner;
    let subscription = inner.get(&"s".into()).unwrap();
    let mut live = subscription.live.lock().await;
    let state = live.state().unwrap().clone();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let (matching, named, sources) = (name("e/1"), name("n"), inner.marks.sources());
            while !is_over.load(Ordering::Relaxed) {
                assert!(inner.marks.concerns_any(&matching) && inner.marks.concerns_any(&named));
                assert_eq!(inner.marks.sources(), sources);
            }
        });
        for _ in 0..30_000 {
            let state = Box::new(state.clone());
            inner.apply(
                &subscription,
                &mut live,
                Event::State {
                    version: VERSION,
                    state,
                },
            );
        }
        is_over.store(true, Ordering::Relaxed);
        watching.join().unwrap();
    });
}

/// No cursor tells the id of a stream that is new, so the news of it mean nothing.
#[tokio::test(start_paused = true)]
async fn an_append_to_a_new_stream_is_found_although_its_server_ended_before_its_mark() {
    let Two { servers: [a, b], .. } = Two::start();
    a.create("wake").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    moment().await;
    a.subscriptions.stop(Duration::ZERO).await;
    a.create("e/1").await;
    a.append("e/1").await;
    moment().await;
    assert!(b.woken().await.is_empty());
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(b.woken().await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gets_the_duty_finds_what_the_last_one_has_left() {
    let Two {
        shared,
        connections,
        servers: [a, b],
    } = Two::start();
    a.create("wake").await;
    b.create("e/1").await;
    a.subscribe("s", Some("e/*"), &[]).await;
    b.append("e/1").await;
    a.until_woken(1).await;
    b.claim("s").await.unwrap();
    b.subscriptions.stop(Duration::ZERO).await;
    shared.clock.advance(LEASE + Duration::from_secs(2));
    moment().await;
    assert_eq!(a.woken().await, [1]);
    connections[0].takes(Duty::Subscriptions);
    shared.clock.advance(Duration::from_secs(2));
    moment().await;
    assert_eq!(a.woken().await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_long_log_of_announcements_is_emptied_and_nothing_is_missed() {
    let Two { servers: [a, b], .. } = Two::start();
    a.create("x").await;
    let id = "i".repeat(256);
    moment().await;
    for _ in 0..500 {
        a.subscribe(&id, None, &["x"]).await;
        a.subscriptions.delete(&id).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(121)).await;
    let log = StreamName::internal("subscription-changes").unwrap();
    let stored = a.engine.read_log(&log, None).await.unwrap().unwrap();
    assert!(stored.messages.len() < 10_000, "{}", stored.messages.len());
    a.subscribe("last", None, &["x"]).await;
    assert_eq!((listed(&a).await, listed(&b).await), (1, 1));
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
    // No cursor tells its id.
    server.create("e/2").await;
    for (woken, stream, landed) in [(1, "e/1", true), (2, "e/1", false), (3, "e/2", false)] {
        *connection.unknown.lock() = Some(landed);
        assert!(server.try_append(stream).await.is_err());
        moment().await;
        if !landed {
            assert_eq!(server.woken().await.len(), woken - 1);
            connection.commit_late();
            moment().await;
        }
        assert_eq!(server.woken().await.len(), woken);
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
    let Two { servers: [a, b], .. } = Two::start();
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
