//! State shared by the parts of one connection: socket, protocol, requests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

use crate::listener::{
    live::takeover::{LiveResponse, Takeover},
    peer::PeerAddr,
    response::budget::ResponseBudget,
};

#[derive(Debug)]
pub(in crate::listener) struct ConnectionState {
    pub(in crate::listener) peer: PeerAddr,
    /// The budget of the client's address.
    pub(in crate::listener) responses: Arc<ResponseBudget>,
    takeover: Takeover,
    /// The socket has not accepted all that was written.
    write_blocked: AtomicBool,
    /// Reads that returned bytes.
    reads: AtomicUsize,
    /// Requests that have started.
    started: AtomicUsize,
    /// [`InFlight`] values.
    in_flight: AtomicUsize,
    too_many_cancellations: AtomicBool,
    /// The server is stopping, and the connection serves one more request.
    last_request: AtomicBool,
    /// Woken when `in_flight` falls to zero, and by too many cancellations.
    changed: AtomicWaker,
}

/// Keeps a connection busy until it is dropped: held by requests without a complete response, and
/// by chunks of responses inside the connection.
#[derive(Debug)]
pub(in crate::listener) struct InFlight(Arc<ConnectionState>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.wake();
        }
    }
}

impl Clone for InFlight {
    fn clone(&self) -> Self {
        self.0.in_flight.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl ConnectionState {
    pub(in crate::listener) fn new(peer: PeerAddr, responses: Arc<ResponseBudget>) -> Self {
        Self {
            peer,
            responses,
            takeover: Takeover::default(),
            write_blocked: AtomicBool::default(),
            reads: AtomicUsize::default(),
            started: AtomicUsize::default(),
            in_flight: AtomicUsize::default(),
            too_many_cancellations: AtomicBool::default(),
            last_request: AtomicBool::default(),
            changed: AtomicWaker::default(),
        }
    }

    pub(in crate::listener) fn offer_live(&self, live: LiveResponse) {
        self.takeover.offer(live);
    }

    /// Whether a live response waits for the connection, and all before it has been sent.
    pub(super) fn is_takeover_due(&self) -> bool {
        self.takeover.is_offered() && !self.write_blocked.load(Ordering::Acquire)
    }

    pub(super) fn take_live(&self) -> Option<LiveResponse> {
        self.takeover.take()
    }

    pub(super) fn set_write_blocked(&self, blocked: bool) {
        if self.write_blocked.load(Ordering::Relaxed) != blocked {
            self.write_blocked.store(blocked, Ordering::Release);
        }
    }

    pub(super) fn count_read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(super) fn start_request(self: &Arc<Self>) -> InFlight {
        self.started.fetch_add(1, Ordering::AcqRel);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    pub(super) fn started(&self) -> usize {
        self.started.load(Ordering::Acquire)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    pub(super) fn report_too_many_cancellations(&self) {
        self.too_many_cancellations.store(true, Ordering::Release);
        self.changed.wake();
    }

    pub(super) fn has_too_many_cancellations(&self) -> bool {
        self.too_many_cancellations.load(Ordering::Acquire)
    }

    pub(super) fn expect_last_request(&self) {
        self.last_request.store(true, Ordering::Release);
    }

    pub(super) fn is_last_request(&self) -> bool {
        self.last_request.load(Ordering::Acquire)
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.changed.register(waker);
    }
}
