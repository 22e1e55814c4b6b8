//! The signals of a graceful shutdown, and its outcome.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio_util::sync::CancellationToken;

use crate::{signal::Signal, wakers::Place};

/// How a graceful shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because they were still open at the end of the grace period.
    pub cut: usize,
}

/// A signal for thousands of connections, and a token for those who wait for it rarely.
#[derive(Debug, Default)]
pub(super) struct ShutdownSignal {
    token: CancellationToken,
    signal: Signal,
}

impl ShutdownSignal {
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(super) fn is_sent(&self) -> bool {
        self.signal.is_sent()
    }

    pub(super) fn send(&self) {
        self.signal.send();
        self.token.cancel();
    }

    pub(super) fn received(&self) -> Received<'_> {
        Received {
            signal: &self.signal,
            place: None,
        }
    }
}

/// Ready once the signal has been sent. Registers the waker of its first poll only, so it belongs
/// at the top of a spawned task, whose waker never changes.
#[derive(Debug)]
pub(super) struct Received<'a> {
    signal: &'a Signal,
    place: Option<Place>,
}

impl Future for Received<'_> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.place.is_none() {
            this.signal.register(&mut this.place, cx.waker());
        }
        if this.signal.is_sent() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        self.signal.withdraw(&mut self.place);
    }
}
