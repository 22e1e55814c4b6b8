use super::*;
use crate::auth::principal::Principal;

fn verified() -> Arc<Verified> {
    Arc::new(Verified::new(Principal::Server { name: None }, 1))
}

#[test]
fn the_cache_never_holds_more_than_its_size() {
    let cache = TokenCache::new(100);
    for number in 0..5000 {
        cache.insert(&format!("token {number}"), verified());
    }
    // The shards round up.
    assert!((1..=164).contains(&cache.len()), "{}", cache.len());
}

#[test]
fn a_size_of_zero_caches_nothing() {
    let cache = TokenCache::new(0);
    cache.insert("token", verified());
    assert!(cache.get("token").is_none());
    assert_eq!(cache.len(), 0);
}

#[test]
fn tokens_with_the_same_end_are_different_tokens() {
    let cache = TokenCache::new(10);
    let end = "e".repeat(2 * HASHED_BYTES);
    cache.insert(&format!("a{end}"), verified());
    assert!(cache.get(&format!("a{end}")).is_some());
    assert!(cache.get(&format!("b{end}")).is_none());
    cache.remove(&format!("b{end}"));
    assert_eq!(cache.len(), 1);
}
