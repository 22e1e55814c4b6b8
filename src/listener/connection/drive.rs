//! Runs a connection until it ends, a shutdown ends it, or a live response takes it over.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use futures_util::future::poll_fn;

use crate::listener::{shared::Shared, shutdown::Received};

/// A connection that can finish what it is doing and accept nothing new.
pub(super) trait Graceful: Future {
    fn start_shutdown(self: Pin<&mut Self>);
}

/// Why [`drive`] returned.
pub(super) enum Driven<T> {
    Ended(T),
    /// The grace period of a shutdown ended first.
    Cut,
    Interrupted,
}

/// Polls a connection until it ends, which a shutdown brings about, or until `is_interrupted`.
pub(super) async fn drive<C: Graceful>(
    mut connection: Pin<&mut C>,
    shared: &Shared,
    is_interrupted: impl Fn() -> bool,
) -> Driven<C::Output> {
    let mut stop = pin!(shared.stop.received());
    let driven = poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(Driven::Ended(output)));
        }
        if is_interrupted() {
            return Poll::Ready(Some(Driven::Interrupted));
        }
        stop.as_mut().poll(cx).map(|()| None)
    })
    .await;
    if let Some(driven) = driven {
        return driven;
    }
    connection.as_mut().start_shutdown();
    let rest = poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(Driven::Ended(output));
        }
        if is_interrupted() {
            return Poll::Ready(Driven::Interrupted);
        }
        Poll::Pending
    });
    until_cut(rest, shared).await.unwrap_or(Driven::Cut)
}

/// Runs `work` to its end; `None` if the grace period of a shutdown ended first.
pub(super) fn until_cut<F: Future>(work: F, shared: &Shared) -> UntilCut<'_, F> {
    UntilCut {
        work,
        cut: shared.cut.received(),
        shared,
    }
}

pin_project_lite::pin_project! {
    /// An `async fn` would hold its argument twice, for the life of a live read.
    pub(super) struct UntilCut<'a, F> {
        #[pin]
        work: F,
        cut: Received<'a>,
        shared: &'a Shared,
    }
}

impl<F: Future> Future for UntilCut<'_, F> {
    type Output = Option<F::Output>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.work.poll(cx) {
            return Poll::Ready(Some(output));
        }
        Pin::new(this.cut).poll(cx).map(|()| {
            this.shared.count_cut();
            None
        })
    }
}
