//! The slot by which a live response leaves hyper.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use http::Response;
use parking_lot::Mutex;

/// A response that has no foreseeable end, to be written without hyper.
#[derive(Debug)]
pub(in crate::listener) struct LiveResponse {
    pub(super) response: Response<Body>,
    /// Whether the connection may serve another request afterwards.
    pub(in crate::listener) keep_alive: bool,
}

/// Passes a live response from its request to the connection's task.
#[derive(Debug, Default)]
pub(in crate::listener) struct Takeover {
    /// Read after each poll of the connection, so it spares the lock.
    offered: AtomicBool,
    response: Mutex<Option<Box<LiveResponse>>>,
}

impl Takeover {
    pub(in crate::listener) fn offer(&self, live: LiveResponse) {
        *self.response.lock() = Some(Box::new(live));
        self.offered.store(true, Ordering::Release);
    }

    pub(in crate::listener) fn is_offered(&self) -> bool {
        self.offered.load(Ordering::Acquire)
    }

    pub(in crate::listener) fn take(&self) -> Option<LiveResponse> {
        self.offered.store(false, Ordering::Release);
        self.response.lock().take().map(|live| *live)
    }
}
