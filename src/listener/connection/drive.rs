//! Runs a connection until it ends, a shutdown ends it, or a live response takes it over.

use std::{
    future::Future,
    pin::{Pin, pin},
    task::Poll,
};

use futures_util::future::poll_fn;

use crate::listener::shared::Shared;

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
pub(super) async fn until_cut<F: Future>(work: F, shared: &Shared) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut cut = pin!(shared.cut.received());
    poll_fn(|cx| {
        if let Poll::Ready(output) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        cut.as_mut().poll(cx).map(|()| {
            shared.count_cut();
            None
        })
    })
    .await
}
