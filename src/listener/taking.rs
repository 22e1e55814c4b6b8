//! How an HTTP/2 client takes one response. A connection that moves does not mean that each of
//! its streams does.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;
use tokio::time::{Instant, Sleep, sleep};

use super::responses::Budget;

/// How long a client may take nothing while the memory for responses is used up.
pub(super) const SHORT_OF_MEMORY: Duration = Duration::from_secs(2);

/// Counts the pieces of one response.
#[derive(Debug, Default)]
pub(super) struct Taking {
    handed: AtomicUsize,
    taken: AtomicUsize,
    complete: AtomicBool,
    /// Woken when a piece is taken.
    moved: AtomicWaker,
}

tokio::task_local! {
    static CURRENT: Arc<Taking>;
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The response was sent.
    Complete,
    /// The client reset the stream, or the connection ended.
    Cancelled,
    /// The client took nothing for too long.
    Stalled,
}

impl Taking {
    /// That of the stream whose task this is; `None` on HTTP/1.1.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    pub(super) fn count_handed(&self) {
        self.handed.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn count_taken(&self) {
        self.taken.fetch_add(1, Ordering::AcqRel);
        self.moved.wake();
    }

    pub(super) fn complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    fn all_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire) == self.handed.load(Ordering::Acquire)
    }

    pub(super) fn poll_all_taken(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.all_taken() {
            return Poll::Ready(());
        }
        self.moved.register(cx.waker());
        if self.all_taken() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Runs one stream. Ends it, which resets it, when its client has taken nothing for
/// `write_timeout` although there is something to take. The connection's other streams go on.
pub(super) async fn run<F: Future<Output = ()>>(stream: F, write_timeout: Duration, budget: &Budget) -> End {
    let taking = Arc::new(Taking::default());
    let mut stream = pin!(CURRENT.scope(Arc::clone(&taking), stream));
    let mut stall = Stall::default();
    let mut seen = 0;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            let complete = taking.complete.load(Ordering::Acquire);
            return Poll::Ready(if complete { End::Complete } else { End::Cancelled });
        }
        if taking.all_taken() {
            stall.end();
            return Poll::Pending;
        }
        let taken = taking.taken.load(Ordering::Acquire);
        if taken != seen {
            seen = taken;
            stall.end();
        }
        stall.poll(cx, write_timeout, budget).map(|()| End::Stalled)
    })
    .await
}

/// A client that takes nothing. Costs next to nothing until there is one.
#[derive(Debug, Default)]
pub(super) struct Stall(Option<Box<Stalled>>);

#[derive(Debug)]
struct Stalled {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Stall {
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    /// Ready when the client has had its time: `write_timeout`, less while memory is short.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, write_timeout: Duration, budget: &Budget) -> Poll<()> {
        let step = write_timeout.min(SHORT_OF_MEMORY);
        let stalled = self.0.get_or_insert_with(|| {
            Box::new(Stalled {
                since: Instant::now(),
                timer: Box::pin(sleep(step)),
            })
        });
        loop {
            std::task::ready!(stalled.timer.as_mut().poll(cx));
            let lasted = stalled.since.elapsed();
            if lasted >= write_timeout || (lasted >= SHORT_OF_MEMORY && budget.is_short()) {
                return Poll::Ready(());
            }
            let next = Instant::now() + step.min(write_timeout.saturating_sub(lasted));
            stalled.timer.as_mut().reset(next);
        }
    }
}
