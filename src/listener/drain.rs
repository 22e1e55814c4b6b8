use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How a drained stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were still open when the time was up, and were cut.
    pub cut: usize,
}

/// A signal that thousands of connections wait for. A bare token takes two locks that all of
/// them share whenever one of them is woken; this is one load.
#[derive(Debug, Default)]
pub(super) struct Signal {
    token: CancellationToken,
    given: AtomicBool,
}

impl Signal {
    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }

    pub(super) fn is_given(&self) -> bool {
        self.given.load(Ordering::Acquire)
    }

    pub(super) fn give(&self) {
        self.given.store(true, Ordering::Release);
        self.token.cancel();
    }

    pub(super) fn wait(&self) -> Wait<'_> {
        Wait {
            signal: self,
            registered: None,
        }
    }
}

/// Ready once the signal is given. Only for the top of a spawned task, whose waker never
/// changes: it is registered once.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    signal: &'a Signal,
    registered: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Future for Wait<'_> {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.signal.is_given() {
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
