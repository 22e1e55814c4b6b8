//! Lifetimes, and work that one server does for all.

use super::*;
use crate::storage::Duty;

const SECS: u64 = 80;
/// What a use may be after the stored one without being stored.
const EIGHTH: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(500);

async fn ticks(count: u32) {
    for _ in 0..count {
        tokio::time::sleep(TICK).await;
        run_tasks().await;
    }
}

fn exists(shared: &Shared, stream: &StreamName) -> bool {
    shared.inner().get(stream).unwrap().is_some()
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_end_before_another_servers_read_allows() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, sliding(SECS)).await.unwrap();
    // Read through A, too early to be stored.
    shared.clock.advance(EIGHTH - Duration::from_millis(1));
    content(&a.engine, &stream).await.unwrap();
    let lifetime = Duration::from_secs(SECS);
    shared.clock.advance(lifetime);
    ticks(3).await;
    assert!(b.engine.metadata(&stream).await.is_ok());
    // Nothing was used since, so an eighth after its lifetime it ends for all.
    shared.clock.advance(Duration::from_millis(1));
    assert!(matches!(b.engine.metadata(&stream).await, Err(ReadError::NotFound)));
    assert!(!exists(&shared, &stream));
    assert!(matches!(content(&a.engine, &stream).await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn a_read_is_stored_before_it_is_answered_once_others_must_know_of_it() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, sliding(SECS)).await.unwrap();
    // B has the stream in memory, as of its creation.
    b.engine.metadata(&stream).await.unwrap();
    shared.clock.advance(EIGHTH);
    content(&a.engine, &stream).await.unwrap();
    let touched_at = shared.inner().get(&stream).unwrap().unwrap().record.touched_at;
    assert_eq!(touched_at, shared.clock.millis());
    shared
        .clock
        .advance(Duration::from_secs(SECS) + EIGHTH - Duration::from_millis(1));
    ticks(3).await;
    append(&b.engine, &stream, "x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_read_is_answered_although_its_use_cannot_be_stored() {
    let (shared, a, _) = servers();
    let stream = name("s");
    a.engine.create(&stream, sliding(SECS)).await.unwrap();
    let touched_at = || shared.inner().get(&stream).unwrap().unwrap().record.touched_at;
    a.connection.takes_no_writes.store(true, SeqCst);
    shared.clock.advance(EIGHTH);
    assert_eq!(content(&a.engine, &stream).await.unwrap(), "");
    let reader = a.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    let used_at = shared.clock.millis();
    assert!(touched_at() < used_at);
    drop(reader);
    // It is stored with the next use.
    a.connection.takes_no_writes.store(false, SeqCst);
    shared.clock.advance(Duration::from_millis(1));
    content(&a.engine, &stream).await.unwrap();
    assert!(touched_at() > used_at);
}

/// A stream that is in use outlives its lifetime several times.
async fn outlives(shared: &Shared, stream: &StreamName) {
    for _ in 0..40 {
        shared.clock.advance(EIGHTH);
        ticks(1).await;
        assert!(exists(shared, stream));
    }
}

/// A stream whose last use is now ends after its lifetime and an eighth.
async fn ends_in_time(shared: &Shared, stream: &StreamName) {
    shared.clock.advance(Duration::from_secs(SECS));
    ticks(1).await;
    assert!(exists(shared, stream));
    shared.clock.advance(EIGHTH);
    ticks(2).await;
    assert!(!exists(shared, stream));
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_end_under_a_live_reader_of_another_server() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, sliding(SECS)).await.unwrap();
    // B sweeps, and A has the reader.
    shared.duties.lock().insert(Duty::Sweep, b.connection.number);
    let reader = a.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    outlives(&shared, &stream).await;
    drop(reader);
    ends_in_time(&shared, &stream).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_does_not_end_while_another_server_sends_it() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, sliding(SECS)).await.unwrap();
    // Two pieces.
    for _ in 0..2 {
        append(&a.engine, &stream, &"x".repeat(300_000)).await.unwrap();
    }
    shared.duties.lock().insert(Duty::Sweep, b.connection.number);
    let mut read = a.engine.read(&stream, ReadFrom::Beginning).await.unwrap();
    assert!(read.pieces.next().await.unwrap().is_some());
    outlives(&shared, &stream).await;
    assert!(read.pieces.next().await.unwrap().is_some());
    assert!(read.pieces.is_over());
    // The end of the read was its last use.
    ends_in_time(&shared, &stream).await;
}

/// The server that sweeps does not know of the last append, which needs no change of the record.
#[tokio::test(start_paused = true)]
async fn what_another_server_has_appended_is_trimmed_in_time() {
    const AGE: u64 = 160;
    const SIXTEENTH: Duration = Duration::from_secs(10);
    let (shared, a, b) = servers();
    shared.duties.lock().insert(Duty::Sweep, b.connection.number);
    let stream = name("s");
    let request = CreateRequest {
        retention: Some(crate::protocol::RetentionPolicy {
            max_age_secs: Some(AGE),
            max_bytes: None,
        }),
        ..plain()
    };
    a.engine.create(&stream, request).await.unwrap();
    append(&a.engine, &stream, "1").await.unwrap();
    b.engine.metadata(&stream).await.unwrap();
    append(&a.engine, &stream, "2").await.unwrap();
    for _ in 0..2 {
        shared.clock.advance(SIXTEENTH);
        b.engine.expire_due().await.unwrap();
    }
    shared.clock.advance(Duration::from_secs(AGE));
    b.engine.expire_due().await.unwrap();
    let metadata = a.engine.metadata(&stream).await.unwrap();
    assert_eq!(metadata.earliest.position, metadata.tail.position);
}

#[tokio::test(start_paused = true)]
async fn a_use_that_is_stored_during_a_sweep_is_not_overlooked() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, sliding(SECS)).await.unwrap();
    b.engine.metadata(&stream).await.unwrap();
    // Just before the end, A reads. The sweeper has judged already, by a clock that is a little ahead.
    let (engine, used) = (a.engine.clone(), stream.clone());
    shared
        .clock
        .advance(Duration::from_secs(SECS) + EIGHTH - Duration::from_millis(1));
    b.between(async move {
        content(&engine, &used).await.unwrap();
    });
    let found = b.engine.find(&stream).await.unwrap().unwrap();
    assert!(!found.expired(shared.clock.millis()));
    let ended = found.origin().lifetimes.deadline(found.lifetime(), found.touched_at());
    assert_eq!(ended, Some(shared.clock.millis() + 1));
    b.engine
        .submit(expire::Expire { name: stream.clone() })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(content(&b.engine, &stream).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn lifetimes_follow_the_clock_of_the_store() {
    let (shared, a, _) = servers();
    let stream = name("s");
    // The servers' own clocks stand at 7.
    a.engine
        .create(&stream, expiring(shared.clock.millis() + 1_000))
        .await
        .unwrap();
    shared.clock.advance(Duration::from_millis(999));
    assert!(a.engine.metadata(&stream).await.is_ok());
    shared.clock.advance(Duration::from_millis(1));
    assert!(matches!(a.engine.metadata(&stream).await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn one_server_sweeps_and_maintains_until_another_takes_the_duties() {
    let (shared, a, b) = servers();
    let others = shared.connect(false).number;
    for duty in [Duty::Sweep, Duty::Upkeep] {
        shared.duties.lock().insert(duty, others);
    }
    let stream = name("s");
    a.engine
        .create(&stream, expiring(shared.clock.millis() + 1_000))
        .await
        .unwrap();
    shared.clock.advance(Duration::from_secs(2));
    ticks(3).await;
    assert!(exists(&shared, &stream));
    shared.duties.lock().insert(Duty::Sweep, b.connection.number);
    shared.clock.advance(Duration::from_secs(2));
    ticks(2).await;
    assert!(!exists(&shared, &stream));
    assert!(a.connection.commits.lock().len() == 1 && !b.connection.commits.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_store_is_maintained_by_the_server_that_has_the_duty() {
    let (shared, a, b) = servers();
    shared.duties.lock().insert(Duty::Upkeep, b.connection.number);
    a.engine.create(&name("a"), plain()).await.unwrap();
    b.engine.create(&name("b"), plain()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(a.connection.maintained.load(SeqCst), 0);
    assert!(b.connection.maintained.load(SeqCst) > 0);
}

#[tokio::test(start_paused = true)]
async fn retention_rules_are_applied_by_one_server_at_a_time() {
    let shared = Shared::new();
    let plain_server = Server::new(&shared, unlimited());
    let stream = name("logs/1");
    plain_server.engine.create(&stream, plain()).await.unwrap();
    for _ in 0..10 {
        append(&plain_server.engine, &stream, &"x".repeat(10)).await.unwrap();
    }
    let others = shared.connect(false).number;
    shared.duties.lock().insert(Duty::Retention, others);
    let rule = RetentionRule {
        streams: "logs/*".into(),
        max_age_secs: None,
        max_bytes: Some(30),
    };
    let config = EngineConfig {
        retention: [rule].into(),
        ..unlimited()
    };
    let server = Server::new(&shared, config);
    let earliest = || shared.inner().get(&stream).unwrap().unwrap().record.earliest();
    ticks(30).await;
    assert_eq!(earliest(), 0);
    shared.duties.lock().insert(Duty::Retention, server.connection.number);
    shared.clock.advance(Duration::from_secs(10));
    ticks(30).await;
    assert!(earliest() > 0);
}
