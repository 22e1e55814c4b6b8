//! The timeout of a client that reads nothing.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::budget::ResponseBudget;

/// The write timeout while the memory for responses is used up.
const EXHAUSTED_WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Measures how long a client has read nothing. Without a stall it is one null pointer.
#[derive(Debug, Default)]
pub(in crate::listener) struct StallTimer(Option<Box<Stall>>);

#[derive(Debug)]
struct Stall {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl StallTimer {
    pub(in crate::listener) fn stop(&mut self) {
        self.0 = None;
    }

    /// Starts the timer if it is not running. Ready when the stall has lasted `write_timeout`, or
    /// [`EXHAUSTED_WRITE_TIMEOUT`] while memory is short.
    pub(in crate::listener) fn poll_elapsed(
        &mut self,
        cx: &mut Context<'_>,
        write_timeout: Duration,
        budget: &ResponseBudget,
    ) -> Poll<()> {
        let step = write_timeout.min(EXHAUSTED_WRITE_TIMEOUT);
        let stall = self.0.get_or_insert_with(|| {
            Box::new(Stall {
                since: Instant::now(),
                timer: Box::pin(sleep(step)),
            })
        });
        loop {
            ready!(stall.timer.as_mut().poll(cx));
            let lasted = stall.since.elapsed();
            if lasted >= write_timeout || (lasted >= EXHAUSTED_WRITE_TIMEOUT && budget.is_exhausted()) {
                return Poll::Ready(());
            }
            let next = Instant::now() + step.min(write_timeout.saturating_sub(lasted));
            stall.timer.as_mut().reset(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::Arc};

    use axum::body::Bytes;

    use super::*;

    async fn elapsed(budget: &ResponseBudget) -> Duration {
        let (mut stall, start) = (StallTimer::default(), Instant::now());
        poll_fn(|cx| stall.poll_elapsed(cx, Duration::from_secs(30), budget)).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_ends_sooner_while_memory_is_short() {
        let budget = Arc::new(ResponseBudget::new(400_000, Duration::from_secs(30)));
        assert_eq!(elapsed(&budget).await.as_secs(), 30);
        let _frame = budget.charge(&Bytes::from(vec![0; 400_000]));
        assert_eq!(elapsed(&budget).await.as_secs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_that_becomes_short_ends_a_stall_that_has_begun() {
        let budget = Arc::new(ResponseBudget::new(400_000, Duration::from_secs(30)));
        let later = Arc::clone(&budget);
        let charge = tokio::spawn(async move {
            sleep(Duration::from_secs(11)).await;
            later.charge(&Bytes::from(vec![0; 400_000]))
        });
        assert_eq!(elapsed(&budget).await.as_secs(), 12);
        drop(charge.await);
    }
}
