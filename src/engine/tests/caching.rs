//! One `Stream` for a name, whatever comes and goes between a look and its use.

use super::*;

#[tokio::test]
async fn what_was_read_before_a_delete_and_a_create_is_not_used() {
    let storage = Faulty::new(0);
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
async fn many_streams_come_and_go_and_none_is_forgotten_while_it_is_held() {
    let storage = Faulty::new(0);
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
