//! Other servers' changes reach live readers, each once and in order.

use super::*;

#[tokio::test]
async fn bytes_are_read_once_for_all_followers_of_a_server() {
    let (_, a, b) = servers();
    let streams = [name("s"), name("t")];
    let mut readers = Vec::new();
    for stream in &streams {
        a.engine.create(stream, plain()).await.unwrap();
        readers.extend(followers(&b, stream, 50).await);
    }
    for stream in &streams {
        append(&a.engine, stream, "x").await.unwrap();
    }
    for reader in &mut readers {
        assert_eq!(seen(reader).await, "x");
    }
    assert_eq!(*b.connection.reads_of_many.lock(), [2]);
    assert_eq!(b.connection.reads.load(SeqCst), 0);
}

#[tokio::test]
async fn changes_to_streams_that_nobody_follows_cost_no_call() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    content(&b.engine, &stream).await.unwrap();
    drop(followers(&b, &stream, 1).await);
    b.connection.refreshes.lock().clear();
    append(&a.engine, &stream, "x").await.unwrap();
    run_tasks().await;
    assert!(b.connection.refreshes.lock().is_empty() && b.connection.reads_of_many.lock().is_empty());
}

#[tokio::test]
async fn an_append_between_the_lookup_and_the_beginning_of_a_live_read_is_seen() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let (engine, between) = (a.engine.clone(), stream.clone());
    b.after_refresh(async move {
        append(&engine, &between, "x").await.unwrap();
    });
    let mut reader = b.engine.follow(&stream, ReadFrom::Beginning).await.unwrap();
    assert_eq!(seen(&mut reader).await, "x");
}

#[tokio::test]
async fn own_commits_and_news_may_come_in_any_order() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut readers = followers(&b, &stream, 2).await;
    b.connection.hold_news();
    append(&a.engine, &stream, "1").await.unwrap();
    append(&b.engine, &stream, "2").await.unwrap();
    assert_eq!(seen(&mut readers[0]).await, "12");
    append(&a.engine, &stream, "3").await.unwrap();
    for _ in 0..3 {
        b.connection.deliver(0, true);
        run_tasks().await;
    }
    for reader in &mut readers {
        let all = seen(reader).await;
        assert!("123".ends_with(&all) && !all.is_empty(), "{all}");
    }
    // The news of A's append overtake the publication of B's own, which lies before it.
    let (engine, after) = (a.engine.clone(), stream.clone());
    *b.connection.after_commit.lock() = Some(Box::new({
        let connection = Arc::clone(&b.connection);
        let sharing = Arc::clone(b.engine.shared.sharing.as_ref().unwrap());
        move || {
            at_once(async { append(&engine, &after, "5").await.unwrap() });
            while connection.news_held() > 0 {
                connection.deliver(0, false);
            }
            at_once(sharing.deliver_now()).unwrap();
        }
    }));
    append(&b.engine, &stream, "4").await.unwrap();
    for reader in &mut readers {
        assert_eq!(seen(reader).await, "45");
    }
}

#[tokio::test]
async fn a_late_answer_does_not_take_a_tail_back() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "1").await.unwrap();
    let mut reader = b.engine.follow(&stream, ReadFrom::Beginning).await.unwrap();
    // The store has answered a read when B itself appends, of which no news come to it.
    let (engine, overtaken) = (b.engine.clone(), stream.clone());
    b.after_refresh(async move {
        append(&engine, &overtaken, "2").await.unwrap();
    });
    b.engine.metadata(&stream).await.unwrap();
    assert_eq!(seen(&mut reader).await, "12");
}

#[tokio::test]
async fn what_was_missed_is_read_again() {
    let (_, a, b) = servers();
    let (stream, closed, deleted) = (name("s"), name("closed"), name("deleted"));
    let mut readers = Vec::new();
    for stream in [&stream, &closed, &deleted] {
        a.engine.create(stream, plain()).await.unwrap();
        readers.extend(followers(&b, stream, 1).await);
    }
    b.connection.hold_news();
    append(&a.engine, &stream, "x").await.unwrap();
    a.engine.append(&closed, closing("y")).await.unwrap();
    a.engine.delete(&deleted).await.unwrap();
    b.connection.lose_news();
    assert_eq!(seen(&mut readers[0]).await, "x");
    assert_eq!(seen(&mut readers[1]).await, "yOk(Closed)");
    assert_eq!(seen(&mut readers[2]).await, "Ok(Gone { softly: false })");
}

#[tokio::test]
async fn followers_learn_of_closes_deletes_and_forks() {
    let (_, a, b) = servers();
    let (closed, deleted, kept) = (name("closed"), name("deleted"), name("kept"));
    let mut readers = Vec::new();
    for stream in [&closed, &deleted, &kept] {
        a.engine.create(stream, plain()).await.unwrap();
        readers.extend(followers(&b, stream, 1).await);
    }
    a.engine.append(&closed, closing("")).await.unwrap();
    a.engine.delete(&deleted).await.unwrap();
    a.engine.create(&name("fork"), fork_of(&kept)).await.unwrap();
    a.engine.delete(&kept).await.unwrap();
    assert_eq!(seen(&mut readers[0]).await, "Ok(Closed)");
    assert_eq!(seen(&mut readers[1]).await, "Ok(Gone { softly: false })");
    assert_eq!(seen(&mut readers[2]).await, "Ok(Gone { softly: true })");
}

#[tokio::test]
async fn a_large_append_is_read_by_its_readers_themselves() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut readers = followers(&b, &stream, 3).await;
    let large = "x".repeat(recent::MAX_BYTES + 1);
    append(&a.engine, &stream, &large).await.unwrap();
    append(&a.engine, &stream, "y").await.unwrap();
    for reader in &mut readers {
        assert!(seen(reader).await == large.clone() + "y");
    }
}
