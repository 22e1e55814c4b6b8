//! There is one `Stream` for a name, whatever happens between a lookup and its use.

use super::*;

#[tokio::test]
async fn a_record_read_before_its_stream_was_replaced_is_not_used() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let stream = name("a");
    engine.create(&stream, plain()).await.unwrap();
    append(&engine, &stream, "old").await.unwrap();
    drop(engine);

    let engine = start(Arc::clone(&storage) as _);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (arrived, mut looked) = tokio::sync::oneshot::channel();
    *storage.after_get.lock() = Some(Box::new(move || {
        let _ = arrived.send(());
        let _ = wait.recv();
    }));
    let (late, looking) = (engine.clone(), stream.clone());
    let reader = tokio::spawn(async move { content(&late, &looking).await });
    (&mut looked).await.unwrap();
    engine.delete(&stream).await.unwrap();
    engine.create(&stream, plain()).await.unwrap();
    append(&engine, &stream, "new").await.unwrap();
    go.send(()).unwrap();
    assert_eq!(reader.await.unwrap().unwrap(), "new");
}

#[tokio::test]
async fn a_stream_is_not_evicted_while_it_is_held() {
    let storage = FailingStore::new(0);
    let engine = start(Arc::clone(&storage) as _);
    let held = name("held");
    engine.create(&held, plain()).await.unwrap();
    let mut follower = engine.follow(&held, ReadFrom::Now).await.unwrap();
    for number in 0..20_000 {
        engine.create(&name(&format!("s{number}")), plain()).await.unwrap();
    }
    assert!(engine.streams_in_memory() <= 64 * 128);
    append(&engine, &held, "x").await.unwrap();
    assert!(matches!(follower.next().await, Ok(Event::Chunk { .. })));
}
