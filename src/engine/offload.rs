//! Work on large bodies, kept off the async workers.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{Engine, errors::Unavailable};
use crate::protocol::{BadInput, Kind, json};

/// A body of up to this size takes well below a millisecond, and is worked on where it came.
const INLINE_BYTES: usize = 64 * 1024;

/// How many large bodies are worked on at once: one for each core. The others wait; all bodies
/// together are bounded by `limits.max_inflight_bytes`.
pub(super) struct Offload {
    slots: Arc<Semaphore>,
    max_json_depth: usize,
}

impl Offload {
    pub(super) fn new(max_json_depth: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            slots: Arc::new(Semaphore::new(cores)),
            max_json_depth,
        }
    }
}

impl Engine {
    /// [`json::stored_form`], on a thread of its own where the body is large.
    pub(super) async fn stored_form(
        &self,
        kind: Kind,
        body: Bytes,
        allow_empty: bool,
    ) -> Result<Result<Bytes, BadInput>, Unavailable> {
        let Offload { slots, max_json_depth } = &self.shared.offload;
        let max_depth = *max_json_depth;
        if kind != Kind::Json || body.len() <= INLINE_BYTES {
            return Ok(json::stored_form(kind, body, allow_empty, max_depth));
        }
        let slot = Arc::clone(slots).acquire_owned().await;
        let slot = slot.map_err(|_| Unavailable::Stopping)?;
        self.blocking(move || {
            // Held until the work is done, even if the caller has gone.
            let _slot = slot;
            json::stored_form(kind, body, allow_empty, max_depth)
        })
        .await
    }
}
