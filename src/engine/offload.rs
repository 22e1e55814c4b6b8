//! Parsing large bodies off the async workers.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{Engine, errors::Unavailable};
use crate::protocol::{BadInput, Kind, json};

/// A body of up to this size takes well below a millisecond, and is parsed on the worker.
const MAX_INLINE_BYTES: usize = 64 * 1024;

/// Parses one large body per core at a time; the others wait. All request bodies together are
/// bounded by the caller.
pub(super) struct Offload {
    slots: Arc<Semaphore>,
    max_json_depth: usize,
}

impl Offload {
    pub fn new(max_json_depth: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            slots: Arc::new(Semaphore::new(cores)),
            max_json_depth,
        }
    }
}

impl Engine {
    /// [`json::stored_form`], on another thread if the body is large.
    pub(super) async fn stored_form(
        &self,
        kind: Kind,
        body: Bytes,
        allow_empty: bool,
    ) -> Result<Result<Bytes, BadInput>, Unavailable> {
        let Offload { slots, max_json_depth } = &self.shared.offload;
        let max_depth = *max_json_depth;
        if kind != Kind::Json || body.len() <= MAX_INLINE_BYTES {
            return Ok(json::stored_form(kind, body, allow_empty, max_depth));
        }
        let slot = Arc::clone(slots).acquire_owned().await;
        let slot = slot.map_err(|_| Unavailable::Stopping)?;
        self.blocking(move || {
            // Held until the work is done, even if the caller disconnects.
            let _slot = slot;
            json::stored_form(kind, body, allow_empty, max_depth)
        })
        .await
    }
}
