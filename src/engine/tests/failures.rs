//! Commits and reads that fail: every command is answered, and memory is as the store is.

use crate::storage::contract::CommitChanges;
use std::time::Duration;

use super::*;

const NOW: Millis = 1_700_000_000_000;

#[tokio::test]
async fn a_failed_commit_is_reported_and_leaves_nothing() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    append(&engine, &stream, "one").await.unwrap();
    *storage.fault.lock() = Some(Fault::Refused);
    assert!(matches!(
        append(&engine, &stream, "two").await,
        Err(AppendError::Unavailable(_))
    ));
    assert_eq!(content(&engine, &stream).await.unwrap(), "one");
    // Each append has a header of one byte.
    assert_eq!(append(&engine, &stream, "three").await.unwrap().tail.position, 10);
    assert_eq!(content(&engine, &stream).await.unwrap(), "onethree");
}

#[tokio::test]
async fn a_change_that_landed_in_spite_of_a_failure_is_published() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    let mut follower = engine.follow(&stream, ReadFrom::Now).await.unwrap();
    *storage.fault.lock() = Some(Fault::Landed);
    assert!(append(&engine, &stream, "one").await.is_err());
    assert!(matches!(follower.next().await, Ok(Event::Chunk { .. })));
    append(&engine, &stream, "two").await.unwrap();
    assert_eq!(content(&engine, &stream).await.unwrap(), "onetwo");

    *storage.fault.lock() = Some(Fault::Landed);
    assert!(engine.delete(&stream).await.is_err());
    assert!(matches!(content(&engine, &stream).await, Err(ReadError::NotFound)));
}

#[tokio::test]
async fn a_stream_that_another_writer_moved_does_not_stop_the_others() {
    let storage = FailingStore::new(0);
    let (one, two) = (start(Arc::clone(&storage) as _), start(Arc::clone(&storage) as _));
    let (stream, other) = (name("a"), name("b"));
    one.create(&stream, plain()).await.unwrap();
    one.create(&other, plain()).await.unwrap();
    append(&two, &stream, "two").await.unwrap();
    // The first engine does not know of that yet, and judges again.
    let (moved, fine) = tokio::join!(append(&one, &stream, "one"), append(&one, &other, "x"));
    assert!(moved.is_ok() && fine.is_ok());
    assert_eq!(content(&one, &stream).await.unwrap(), "twoone");
}

#[tokio::test]
async fn a_command_that_does_not_fit_does_not_fail_its_batch() {
    let storage = FailingStore::new(4096);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    let large = "x".repeat(8192);
    let results = tokio::join!(
        append(&engine, &stream, "1"),
        append(&engine, &stream, &large),
        append(&engine, &stream, "2"),
        append(&engine, &stream, "3"),
    );
    assert!(results.0.is_ok() && results.2.is_ok() && results.3.is_ok());
    assert!(matches!(results.1, Err(AppendError::Unavailable(Unavailable::Full(_)))));
    assert_eq!(content(&engine, &stream).await.unwrap(), "123");
}

#[tokio::test]
async fn a_committer_that_panics_keeps_nobody_waiting() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    *storage.fault.lock() = Some(Fault::Panic);
    for _ in 0..2 {
        let answer = tokio::time::timeout(Duration::from_secs(5), append(&engine, &stream, "x")).await;
        assert!(answer.unwrap().is_err());
    }
    assert_eq!(content(&engine, &stream).await.unwrap(), "");
}

#[tokio::test]
async fn a_delete_that_cannot_read_the_source_changes_nothing() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let (source, fork) = (name("source"), name("fork"));
    engine.create(&source, plain()).await.unwrap();
    engine.create(&fork, fork_of(&source)).await.unwrap();
    engine.delete(&source).await.unwrap();
    drop(engine);
    // Another engine has neither in memory.
    let engine = start(Arc::clone(&storage) as _);
    *storage.unreadable.lock() = Some(source.clone());
    assert!(matches!(engine.delete(&fork).await, Err(DeleteError::Unavailable(_))));
    assert_eq!(content(&engine, &fork).await.unwrap(), "");
    engine.delete(&fork).await.unwrap();
    assert_eq!(storage.usage().streams, 0);
}

/// Without changes, the next maintenance would come a minute later.
#[tokio::test]
async fn a_store_is_maintained_after_changes_and_takes_no_writes_once_that_panics() {
    let (storage, clock) = (FailingStore::new(0), Clock::system());
    let engine = start(Arc::clone(&storage) as _);
    let maintained = || storage.maintained.load(SeqCst);
    while maintained() == 0 {
        tokio::task::yield_now().await;
    }
    let (before, started) = (maintained(), clock.instant());
    engine.create(&name("a"), plain()).await.unwrap();
    while maintained() == before {
        tokio::task::yield_now().await;
    }
    assert!(clock.instant() - started < Duration::from_secs(30));
    storage.maintenance_panics.store(true, SeqCst);
    append(&engine, &name("a"), "x").await.unwrap();
    while engine.takes_writes() {
        tokio::task::yield_now().await;
    }
    assert!(clock.instant() - started < Duration::from_secs(30));
}

#[tokio::test]
async fn a_read_that_a_delete_overtakes_finds_nothing() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    append(&engine, &stream, "one").await.unwrap();
    let (store, gone) = (Arc::clone(&storage), stream.clone());
    *storage.before_read.lock() = Some(Box::new(move || {
        let id = store.inner.get(&gone).unwrap().unwrap().record.id;
        store
            .inner
            .commit_changes(&[Change::Remove { name: gone, id }])
            .unwrap();
    }));
    assert!(matches!(content(&engine, &stream).await, Err(ReadError::NotFound)));
}

#[tokio::test(start_paused = true)]
async fn streams_that_end_together_share_commits() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);

    for number in 0..100 {
        let stream = name(&format!("s{number}"));
        engine.create(&stream, expiring(NOW + 300)).await.unwrap();
    }
    let before = storage.commits.load(SeqCst);
    let held = hold_committer(&engine).await;
    clock.advance(Duration::from_millis(300));
    while engine.shared.committer.queued() < 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(held);
    storage.until(|store| store.usage().streams == 0).await;
    let commits = storage.commits.load(SeqCst) - before;
    assert!(commits < 5, "{commits}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_ended_is_gone_and_not_unknown() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let (source, fork) = (name("source"), name("fork"));
    engine.create(&source, expiring(NOW + 200)).await.unwrap();
    let request = CreateRequest {
        lifetime: Some(Lifetime::Ttl(60)),
        ..fork_of(&source)
    };
    engine.create(&fork, request).await.unwrap();
    clock.advance(Duration::from_millis(200));
    storage.sweep().await;
    assert!(matches!(engine.metadata(&source).await, Err(ReadError::Gone)));
}

#[tokio::test]
async fn a_stop_stores_when_streams_were_read() {
    let (storage, clock) = (FailingStore::new(0), Clock::manual(NOW));
    let engine = start_at(Arc::clone(&storage) as _, &clock);
    let stream = name("a");
    let request = CreateRequest {
        lifetime: Some(Lifetime::Ttl(3600)),
        ..plain()
    };
    engine.create(&stream, request).await.unwrap();
    clock.advance(Duration::from_millis(5));
    content(&engine, &stream).await.unwrap();
    let touched_at = || storage.inner.get(&stream).unwrap().unwrap().record.touched_at;
    assert_eq!(touched_at(), NOW);
    engine.stop().await;
    assert_eq!(touched_at(), NOW + 5);
}

async fn produce(engine: &Engine, stream: &StreamName, seq: u64) -> Result<Appended, AppendError> {
    let request = AppendRequest {
        content_type: Some(ContentType::parse("text/plain").unwrap()),
        body: Bytes::from_static(b"x"),
        producer: Some(ProducerStamp {
            id: "p".into(),
            epoch: 0,
            seq,
        }),
        ..AppendRequest::default()
    };
    engine.append(stream, request).await
}

#[tokio::test]
async fn a_producer_stands_where_the_store_says_after_a_failed_commit() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    *storage.fault.lock() = Some(Fault::Refused);
    assert!(produce(&engine, &stream, 0).await.is_err());
    assert!(!produce(&engine, &stream, 0).await.unwrap().duplicate);
    *storage.fault.lock() = Some(Fault::Landed);
    assert!(produce(&engine, &stream, 1).await.is_err());
    assert!(produce(&engine, &stream, 1).await.unwrap().duplicate);
    assert_eq!(content(&engine, &stream).await.unwrap(), "xx");
}

#[tokio::test]
async fn a_stream_created_anew_knows_no_producers() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    for _ in 0..2 {
        engine.create(&stream, plain()).await.unwrap();
        assert!(!produce(&engine, &stream, 0).await.unwrap().duplicate);
        engine.delete(&stream).await.unwrap();
    }
}
