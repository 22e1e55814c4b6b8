use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use http::Response;
use parking_lot::Mutex;

/// Between the parts of one HTTP/1.1 connection: an answer that will go on for long is taken
/// out of hyper, whose buffers (16 KiB) are of no use to a reader that mostly waits.
#[derive(Debug, Default)]
pub(super) struct Handover {
    offered: AtomicBool,
    answer: Mutex<Option<Live>>,
    /// The socket has not taken all that hyper wrote so far.
    stuck: AtomicBool,
}

/// An answer without an end in sight.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) response: Response<Body>,
    /// The connection may serve another request afterwards.
    pub(super) keep: bool,
}

impl Handover {
    pub(super) fn offer(&self, live: Live) {
        *self.answer.lock() = Some(live);
        self.offered.store(true, Ordering::Release);
    }

    /// Whether there is an answer to take, and all before it has been sent.
    pub(super) fn is_due(&self) -> bool {
        self.offered.load(Ordering::Acquire) && !self.stuck.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Option<Live> {
        self.offered.store(false, Ordering::Release);
        self.answer.lock().take()
    }

    pub(super) fn set_stuck(&self, stuck: bool) {
        if self.stuck.load(Ordering::Relaxed) != stuck {
            self.stuck.store(stuck, Ordering::Release);
        }
    }
}
