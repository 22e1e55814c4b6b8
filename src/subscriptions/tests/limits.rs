//! What happens to a subscription that has as many links as it may have.

use super::*;
use crate::storage::memory::InMemoryStorage;

#[tokio::test]
async fn a_subscription_shows_that_a_matching_stream_was_not_linked() {
    let (store, clock) = (Arc::new(InMemoryStorage::new(0)), Clock::manual(NOW));
    let config = SubscriptionsConfig {
        max_links_per_subscription: 1,
        ..SubscriptionsConfig::default()
    };
    let server = Server::with(store, &clock, config);
    server.create("wake").await;
    server.subscribe("s", Some("e/*"), &[]).await;
    server.create("e/1").await;
    server.append("e/1").await;
    let claimed = server.claim("s").await.unwrap();
    let refused_at = async || server.subscriptions.read("s").await.unwrap().link_refused_at;
    assert_eq!(refused_at().await, None);
    server.create("e/2").await;
    server.append("e/2").await;
    assert!(!server.ack("s", &claimed, &all_of(&claimed), true).await.unwrap());
    assert_eq!(refused_at().await, Some(NOW));
    assert_eq!(server.cursors("s").await.len(), 1);
}
