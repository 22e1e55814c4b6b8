//! How far an HTTP/2 client has read one response. That a connection moves does not mean that
//! each of its streams does.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{future::poll_fn, task::AtomicWaker};
use parking_lot::Mutex;

use super::{budget::ResponseBudget, stall::StallTimer};

/// Counts the chunks of one response body: those given to the connection, and those of them that
/// it has sent or dropped.
#[derive(Debug, Default)]
pub(in crate::listener) struct BodyProgress {
    queued: AtomicUsize,
    sent: AtomicUsize,
    complete: AtomicBool,
    on_sent: AtomicWaker,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listener) enum StreamEnd {
    /// The response was sent.
    Complete,
    /// The client reset the stream, or the connection ended.
    Cancelled,
    /// The client read nothing for too long.
    Stalled,
}

impl BodyProgress {
    pub(super) fn count_queued(&self) {
        self.queued.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::AcqRel);
        self.on_sent.wake();
    }

    pub(super) fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::Acquire)
    }

    fn is_all_sent(&self) -> bool {
        self.sent() == self.queued.load(Ordering::Acquire)
    }

    pub(super) fn poll_all_sent(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_all_sent() {
            return Poll::Ready(());
        }
        self.on_sent.register(cx.waker());
        if self.is_all_sent() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// Links the two ends of a stream, of which hyper hides one from the other: it calls the service
/// with a request and then, before the next request, gives the executor the stream's task.
#[derive(Debug, Default)]
pub(in crate::listener) struct ProgressHandoff(Mutex<Option<Arc<BodyProgress>>>);

impl ProgressHandoff {
    /// For the service.
    pub(in crate::listener) fn start_stream(&self) -> Arc<BodyProgress> {
        let progress = Arc::new(BodyProgress::default());
        *self.0.lock() = Some(Arc::clone(&progress));
        progress
    }

    /// For the executor. A task that belongs to no request gets a progress that never stalls.
    pub(in crate::listener) fn take(&self) -> Arc<BodyProgress> {
        self.0.lock().take().unwrap_or_default()
    }
}

/// Runs one stream. Drops it, which resets it, when its client has read nothing for
/// `write_timeout` although there is something to read. The connection's other streams go on.
pub(in crate::listener) async fn run_stream<F: Future<Output = ()>>(
    stream: F,
    progress: &BodyProgress,
    write_timeout: Duration,
    budget: &ResponseBudget,
) -> StreamEnd {
    let mut stream = pin!(stream);
    let mut stall = StallTimer::default();
    let mut last_sent = 0;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            let complete = progress.complete.load(Ordering::Acquire);
            return Poll::Ready(if complete {
                StreamEnd::Complete
            } else {
                StreamEnd::Cancelled
            });
        }
        if progress.is_all_sent() {
            stall.stop();
            return Poll::Pending;
        }
        let sent = progress.sent();
        if sent != last_sent {
            last_sent = sent;
            stall.stop();
        }
        stall
            .poll_elapsed(cx, write_timeout, budget)
            .map(|()| StreamEnd::Stalled)
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

    async fn run(progress: &BodyProgress, stream: impl Future<Output = ()>) -> (StreamEnd, u64) {
        let budget = ResponseBudget::new(1 << 20, WRITE_TIMEOUT);
        let start = Instant::now();
        let end = run_stream(stream, progress, WRITE_TIMEOUT, &budget).await;
        (end, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_progress_is_reset_and_a_slow_one_is_not() {
        let progress = BodyProgress::default();
        progress.count_queued();
        let stalled = run(&progress, std::future::pending()).await;
        assert_eq!(stalled, (StreamEnd::Stalled, 30));

        let progress = BodyProgress::default();
        let slow = run(&progress, async {
            for _ in 0..10 {
                progress.count_queued();
                progress.count_queued();
                sleep(Duration::from_secs(20)).await;
                progress.count_sent();
            }
            progress.set_complete();
        });
        assert_eq!(slow.await, (StreamEnd::Complete, 200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_with_nothing_to_send_is_not_stalled() {
        let progress = BodyProgress::default();
        let quiet = run(&progress, sleep(Duration::from_secs(3600)));
        assert_eq!(quiet.await, (StreamEnd::Cancelled, 3600));
    }

    #[test]
    fn the_executor_gets_the_progress_of_the_last_request_once() {
        let handoff = ProgressHandoff::default();
        let progress = handoff.start_stream();
        assert!(Arc::ptr_eq(&progress, &handoff.take()));
        assert!(!Arc::ptr_eq(&progress, &handoff.take()));
    }
}
