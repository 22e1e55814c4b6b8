//! The chunks that the live readers of one stream share.

use std::{collections::VecDeque, sync::Arc};

use super::chunk::Chunk;
use crate::storage::Position;

/// Content of one stream that is kept for its live readers. Those further back read the store.
pub(super) const MAX_BYTES: usize = 256 * 1024;
const MAX_CHUNKS: usize = 64;

/// The latest chunks of a stream, oldest first, without gaps. The last one is kept whatever its
/// size.
#[derive(Debug, Default)]
pub(super) struct RecentChunks {
    chunks: VecDeque<Arc<Chunk>>,
    bytes: usize,
}

impl RecentChunks {
    /// The chunk that begins at a position.
    pub fn get(&self, at: Position) -> Option<Arc<Chunk>> {
        // Most readers have everything but the last one.
        let last = self.chunks.back().filter(|last| last.start.position <= at);
        if let Some(last) = last {
            return (last.start.position == at).then(|| Arc::clone(last));
        }
        let index = self
            .chunks
            .binary_search_by_key(&at, |chunk| chunk.start.position)
            .ok()?;
        self.chunks.get(index).map(Arc::clone)
    }

    pub fn last(&self) -> Option<&Arc<Chunk>> {
        self.chunks.back()
    }

    pub fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.stored().len();
        self.chunks.push_back(Arc::new(chunk));
        while self.chunks.len() > 1 && (self.bytes > MAX_BYTES || self.chunks.len() > MAX_CHUNKS) {
            if let Some(oldest) = self.chunks.pop_front() {
                self.bytes -= oldest.stored().len();
            }
        }
    }

    /// Whether the oldest chunk begins at a position.
    pub fn begins_at(&self, position: Position) -> bool {
        self.chunks
            .front()
            .is_some_and(|oldest| oldest.start.position == position)
    }

    /// Adds a chunk that ends where the oldest begins, if there is room.
    pub fn push_front(&mut self, chunk: Chunk) {
        if self.chunks.len() < MAX_CHUNKS && self.bytes + chunk.stored().len() <= MAX_BYTES {
            self.bytes += chunk.stored().len();
            self.chunks.push_front(Arc::new(chunk));
        }
    }

    pub fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::protocol::{Kind, Offset};

    fn chunk(start: Position, len: usize) -> Chunk {
        let at = |position| Offset {
            incarnation: 1,
            position,
        };
        let content = Bytes::from(vec![b'x'; len]);
        Chunk::new(Kind::Binary, at(start), at(start + len as u64), content)
    }

    #[test]
    fn the_oldest_chunks_make_room_and_the_last_one_stays() {
        let mut recent = RecentChunks::default();
        for start in 0..100 {
            recent.push(chunk(start, 1));
        }
        assert!(recent.get(35).is_none() && recent.get(36).is_some() && recent.get(99).is_some());
        recent.push(chunk(100, 2 * MAX_BYTES));
        assert!(recent.get(99).is_none() && recent.get(100).is_some());
    }
}
