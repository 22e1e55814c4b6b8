//! Ids for new streams.

use super::errors::Unavailable;
use crate::{
    clock::Clock,
    protocol::Offset,
    storage::{Storage, StreamId},
};

/// Ids allocated at once.
const ID_BLOCK: u64 = 1 << 16;
/// Ids are incarnations of streams, and must fit into offsets whatever the clock says.
const MAX_CLOCK_ID: u64 = Offset::MAX_INCARNATION / 2;

/// Allocates ids from the store in blocks.
pub(super) struct Ids {
    clock: Clock,
    next: StreamId,
    left: u64,
}

impl Ids {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            next: 0,
            left: 0,
        }
    }

    /// The next id comes from a new block, and is greater than all that any server has.
    pub(super) fn renew(&mut self) {
        self.left = 0;
    }

    /// An id greater than all before it, and than `other` if that lies in the past.
    pub(super) fn next(&mut self, storage: &dyn Storage, other: StreamId) -> Result<StreamId, Unavailable> {
        // A block may have been allocated long ago.
        if self.left == 0 || self.next <= other {
            // The time keeps ids growing even if the store was lost or restored from a backup, and what this server
            // has used does even if the store's clock went back.
            let lowest = self.clock.micros().min(MAX_CLOCK_ID).max(self.next);
            self.next = storage.reserve_ids(ID_BLOCK, lowest)?;
            self.left = ID_BLOCK;
        }
        let id = self.next;
        self.next += 1;
        self.left -= 1;
        Ok(id)
    }
}
