//! A part of a response body on its way to the socket.

use std::sync::Arc;

use axum::body::Bytes;
use bytes::Buf;

use super::{budget::Charge, progress::BodyProgress};
use crate::listener::connection::state::InFlight;

/// Charged, and counted as in flight, until the connection has sent or dropped it.
pub(in crate::listener) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) _charge: Option<Arc<Charge>>,
    /// On HTTP/1.1.
    pub(super) _in_flight: Option<InFlight>,
    /// On HTTP/2.
    pub(super) progress: Option<Arc<BodyProgress>>,
}

impl Buf for Chunk {
    #[inline]
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.count_sent();
        }
    }
}
