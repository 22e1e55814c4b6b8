//! The signals of a graceful shutdown, and its outcome.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How a graceful shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because they were still open at the end of the grace period.
    pub cut: usize,
}

/// A signal for thousands of connections. Polling a bare token takes two locks that all of them
/// share; polling this is one load.
#[derive(Debug, Default)]
pub(super) struct Signal {
    token: CancellationToken,
    sent: AtomicBool,
}

impl Signal {
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    pub(super) fn send(&self) {
        self.sent.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(super) fn received(&self) -> Received<'_> {
        Received {
            signal: self,
            registered: None,
        }
    }
}

/// Ready once the signal has been sent. Registers the waker of its first poll only, so it belongs
/// at the top of a spawned task, whose waker never changes.
#[derive(Debug)]
pub(super) struct Received<'a> {
    signal: &'a Signal,
    registered: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Future for Received<'_> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.signal.is_sent() {
            return Poll::Ready(());
        }
        if self.registered.is_some() {
            return Poll::Pending;
        }
        let mut registered = Box::pin(self.signal.token.clone().cancelled_owned());
        let outcome = registered.as_mut().poll(cx);
        self.registered = Some(registered);
        outcome
    }
}
