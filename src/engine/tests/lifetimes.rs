//! Lifetimes and idle streams, by the clock.

use std::time::Duration;

use super::*;

const MINUTE: u64 = 60;
const ALMOST_A_MINUTE: Duration = Duration::from_secs(59);

fn has_streams(store: &dyn Storage) -> bool {
    store.usage().streams > 0
}

fn touched_at(storage: &FailingStore, name: &StreamName) -> Millis {
    storage.inner.get(name).unwrap().unwrap().record.touched_at
}

#[tokio::test(start_paused = true)]
async fn a_sliding_lifetime_ends_after_the_last_read_or_write() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let stream = name("a");
    engine.create(&stream, sliding(MINUTE)).await.unwrap();
    for _ in 0..3 {
        clock.advance(ALMOST_A_MINUTE);
        assert_eq!(content(&engine, &stream).await.unwrap(), "");
    }
    clock.advance(ALMOST_A_MINUTE);
    append(&engine, &stream, "x").await.unwrap();
    clock.advance(ALMOST_A_MINUTE);
    storage.sweep().await;
    assert!(engine.metadata(&stream).await.is_ok(), "metadata is no read");
    clock.advance(Duration::from_secs(1));
    assert!(matches!(engine.metadata(&stream).await, Err(ReadError::NotFound)));
    storage.until(|store| !has_streams(store)).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_moment_without_a_request() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let stream = name("a");
    engine.create(&stream, expiring(NOW + 60_000)).await.unwrap();
    let mut follower = engine.follow(&stream, ReadFrom::Now).await.unwrap();
    clock.advance(ALMOST_A_MINUTE);
    storage.sweep().await;
    assert!(has_streams(&*storage.inner));
    clock.advance(Duration::from_secs(1));
    assert!(matches!(follower.next().await, Ok(Event::Gone { softly: false })));
    assert!(!has_streams(&*storage.inner));
}

#[tokio::test(start_paused = true)]
async fn a_live_reader_keeps_a_sliding_lifetime_from_running_out() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let stream = name("a");
    engine.create(&stream, sliding(MINUTE)).await.unwrap();
    let follower = engine.follow(&stream, ReadFrom::Now).await.unwrap();
    clock.advance(Duration::from_secs(3600));
    storage.sweep().await;
    drop(follower);
    clock.advance(ALMOST_A_MINUTE);
    storage.sweep().await;
    assert!(has_streams(&*storage.inner), "the reader left less than a minute ago");
    clock.advance(Duration::from_secs(1));
    storage.until(|store| !has_streams(store)).await;
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_goes_on_while_no_engine_runs() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let (short, long) = (name("short"), name("long"));
    engine.create(&short, sliding(MINUTE)).await.unwrap();
    engine.create(&long, sliding(60 * MINUTE)).await.unwrap();
    engine.stop().await;
    drop(engine);
    clock.advance(Duration::from_secs(MINUTE));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    assert!(matches!(engine.metadata(&short).await, Err(ReadError::NotFound)));
    storage.until(|store| store.usage().streams == 1).await;
    assert!(engine.metadata(&long).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_leaves_memory_when_it_has_been_idle_for_ten_seconds() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let (idle, used, followed) = (name("idle"), name("used"), name("followed"));
    for stream in [&idle, &used, &followed] {
        engine.create(stream, plain()).await.unwrap();
    }
    let follower = engine.follow(&followed, ReadFrom::Now).await.unwrap();
    clock.advance(Duration::from_secs(9));
    engine.metadata(&used).await.unwrap();
    storage.sweep().await;
    assert_eq!(engine.streams_in_memory(), 3);
    clock.advance(Duration::from_secs(1));
    storage.sweep().await;
    assert_eq!(
        engine.streams_in_memory(),
        2,
        "the one in use and the one that is followed"
    );
    drop(follower);
    clock.advance(Duration::from_secs(10));
    storage.sweep().await;
    assert_eq!(engine.streams_in_memory(), 0);
    assert_eq!(content(&engine, &idle).await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn an_access_time_is_written_down_before_its_stream_leaves_memory() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let stream = name("a");
    engine.create(&stream, sliding(3600)).await.unwrap();
    clock.advance(Duration::from_secs(5));
    content(&engine, &stream).await.unwrap();
    assert_eq!(
        touched_at(&storage, &stream),
        NOW,
        "a read soon after the last is not written"
    );
    clock.advance(Duration::from_secs(10));
    storage.until(|_| touched_at(&storage, &stream) == NOW + 5_000).await;
    settled(&engine).await;
    storage.sweep().await;
    assert_eq!(engine.streams_in_memory(), 0);
}

#[tokio::test(start_paused = true)]
async fn reads_of_a_sliding_lifetime_are_written_down_now_and_then() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let stream = name("a");
    engine.create(&stream, sliding(80)).await.unwrap();
    let before = storage.commits.load(SeqCst);
    for _ in 0..9 {
        clock.advance(Duration::from_secs(1));
        content(&engine, &stream).await.unwrap();
    }
    assert_eq!(storage.commits.load(SeqCst), before);
    clock.advance(Duration::from_secs(1));
    content(&engine, &stream).await.unwrap();
    // An eighth of the lifetime has passed.
    storage.until(|_| touched_at(&storage, &stream) == NOW + 10_000).await;
}
