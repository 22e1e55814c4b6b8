//! Large bodies do not hold up other requests.

use super::*;
use crate::protocol::Kind;

/// On a single thread, which anything long would block.
#[tokio::test(flavor = "current_thread")]
async fn others_proceed_while_a_large_body_is_parsed() {
    let engine = start(Arc::new(InMemoryStorage::new(0)));
    let body = Bytes::from(format!("[{}1]", "1,".repeat(1_000_000)));
    let work = {
        let (engine, body) = (engine.clone(), body.clone());
        tokio::spawn(async move { engine.stored_form(Kind::Json, body, false).await })
    };
    let mut turns = 0;
    while !work.is_finished() {
        tokio::task::yield_now().await;
        turns += 1;
    }
    let stored = work.await.unwrap().unwrap().unwrap();
    assert_eq!(stored.len(), 3_000_003);
    assert!(turns > 10, "{turns}");
}
