use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use futures_util::task::AtomicWaker;
use http::Response;
use parking_lot::Mutex;

use super::responses::Budget;

/// One connection, as its parts tell each other about it: the socket, the protocol, the requests.
#[derive(Debug)]
pub(super) struct ConnectionState {
    /// The memory of responses, for the client's address.
    pub(super) responses: Arc<Budget>,
    live_offered: AtomicBool,
    live: Mutex<Option<Box<Live>>>,
    /// The socket has not taken all that was written.
    stuck: AtomicBool,
    /// Counts reads that brought something.
    reads: AtomicUsize,
    /// Requests that have begun.
    begun: AtomicUsize,
    /// Requests whose responses are not complete, and pieces of responses in the connection.
    open: AtomicUsize,
    /// More requests were cancelled than the connection may cancel.
    abused: AtomicBool,
    /// Woken when `open` falls to zero, and by abuse.
    changed: AtomicWaker,
}

/// A response without an end in sight. Over HTTP/1.1 it is taken out of hyper, whose buffers
/// (16 KiB) are of no use to a reader that mostly waits.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) response: Response<Body>,
    /// The connection may serve another request afterwards.
    pub(super) keep: bool,
}

/// Counts in [`ConnectionState::is_busy`] for as long as it exists.
#[derive(Debug)]
pub(super) struct Open(Arc<ConnectionState>);

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.wake();
        }
    }
}

impl Clone for Open {
    fn clone(&self) -> Self {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl ConnectionState {
    pub(super) fn new(responses: Arc<Budget>) -> Self {
        Self {
            responses,
            live_offered: AtomicBool::default(),
            live: Mutex::default(),
            stuck: AtomicBool::default(),
            reads: AtomicUsize::default(),
            begun: AtomicUsize::default(),
            open: AtomicUsize::default(),
            abused: AtomicBool::default(),
            changed: AtomicWaker::default(),
        }
    }

    pub(super) fn offer_live(&self, live: Live) {
        *self.live.lock() = Some(Box::new(live));
        self.live_offered.store(true, Ordering::Release);
    }

    /// Whether there is a live response to take, and all before it has been sent.
    pub(super) fn is_live_due(&self) -> bool {
        self.live_offered.load(Ordering::Acquire) && !self.stuck.load(Ordering::Acquire)
    }

    pub(super) fn take_live(&self) -> Option<Live> {
        self.live_offered.store(false, Ordering::Release);
        self.live.lock().take().map(|live| *live)
    }

    pub(super) fn set_stuck(&self, stuck: bool) {
        if self.stuck.load(Ordering::Relaxed) != stuck {
            self.stuck.store(stuck, Ordering::Release);
        }
    }

    pub(super) fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(super) fn begin(self: &Arc<Self>) -> Open {
        self.begun.fetch_add(1, Ordering::AcqRel);
        self.open.fetch_add(1, Ordering::AcqRel);
        Open(Arc::clone(self))
    }

    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Acquire)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    pub(super) fn report_abuse(&self) {
        self.abused.store(true, Ordering::Release);
        self.changed.wake();
    }

    pub(super) fn is_abused(&self) -> bool {
        self.abused.load(Ordering::Acquire)
    }

    pub(super) fn register(&self, waker: &std::task::Waker) {
        self.changed.register(waker);
    }
}
