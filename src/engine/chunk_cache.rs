//! Chunks shared by all who read the same part of a stream at about the same time.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use quick_cache::{DefaultHashBuilder, Weighter, sync::Cache};

use super::chunk::Chunk;
use crate::storage::{Position, StreamId};

/// A chunk of at least this size is shared for as long as a reader holds it, even if the cache has
/// evicted it or rejected it for its size.
pub(crate) const LARGE_CHUNK: usize = 64 * 1024;

/// The stream, where the chunk begins, where it should end, and the history of the store.
pub(super) type Key = (StreamId, Position, Position, u64);

/// As many recently read chunks as fit, and all large ones in use.
pub(super) struct ChunkCache {
    recent: Cache<Key, Arc<Chunk>, ByWeight>,
    in_use: Mutex<InUse>,
}

#[derive(Default)]
struct InUse {
    chunks: HashMap<Key, Weak<Chunk>>,
    /// The number of entries at which dropped chunks are pruned.
    prune_at: usize,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<Key, Arc<Chunk>> for ByWeight {
    fn weight(&self, _: &Key, chunk: &Arc<Chunk>) -> u64 {
        chunk.weight()
    }
}

impl ChunkCache {
    /// A cache of up to `bytes` of recent chunks.
    pub fn new(bytes: u64) -> Self {
        Self {
            recent: Cache::with(1024, bytes, ByWeight, DefaultHashBuilder::default(), Default::default()),
            in_use: Mutex::default(),
        }
    }

    /// The chunk of `key`, loaded once for all who ask for it at the same time.
    pub async fn get_or_load<E>(
        &self,
        key: &Key,
        load: impl Future<Output = Result<Arc<Chunk>, E>>,
    ) -> Result<Arc<Chunk>, E> {
        let shared = async {
            if let Some(chunk) = self.in_use.lock().chunks.get(key).and_then(Weak::upgrade) {
                return Ok(chunk);
            }
            let chunk = load.await?;
            if chunk.stored().len() >= LARGE_CHUNK {
                self.in_use.lock().insert(*key, &chunk);
            }
            Ok(chunk)
        };
        self.recent.get_or_insert_async(key, shared).await
    }
}

#[cfg(test)]
impl ChunkCache {
    pub fn clear(&self) {
        self.recent.clear();
    }
}

impl InUse {
    fn insert(&mut self, key: Key, chunk: &Arc<Chunk>) {
        if self.chunks.len() >= self.prune_at {
            self.chunks.retain(|_, chunk| chunk.strong_count() > 0);
            self.prune_at = 2 * self.chunks.len() + 16;
        }
        self.chunks.insert(key, Arc::downgrade(chunk));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;

    use super::*;
    use crate::protocol::{Kind, Offset};

    fn at(position: Position) -> Offset {
        Offset {
            incarnation: 1,
            position,
        }
    }

    async fn get(cache: &ChunkCache, start: Position, len: usize) -> Arc<Chunk> {
        let load = async {
            let stored = Bytes::from(vec![b'x'; len]);
            Ok::<_, Infallible>(Arc::new(Chunk::new(Kind::Text, at(start), at(start + 1), stored)))
        };
        let Ok(chunk) = cache.get_or_load(&(1, start, start + 1, 0), load).await;
        chunk
    }

    #[tokio::test]
    async fn a_chunk_too_large_for_the_cache_is_shared_while_it_is_held() {
        let cache = ChunkCache::new(1000);
        let first = get(&cache, 0, LARGE_CHUNK).await;
        assert!(Arc::ptr_eq(&first, &get(&cache, 0, LARGE_CHUNK).await));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert!(weak.upgrade().is_none(), "the cache keeps a chunk that does not fit");
        get(&cache, 0, LARGE_CHUNK).await;
    }

    #[tokio::test]
    async fn large_chunks_that_nobody_holds_are_pruned() {
        let cache = ChunkCache::new(1000);
        for start in 0..10_000 {
            get(&cache, start, LARGE_CHUNK).await;
        }
        assert!(cache.in_use.lock().chunks.len() <= 16);
    }
}
