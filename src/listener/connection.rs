use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use futures_util::future::poll_fn;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::idle::Watched;
use super::live::{self, Writer};
use super::metered::Metered;
use super::server::Shared;
use super::service::Entry;

/// What an application must be to be served: an `axum::Router` is. Cloned for each request.
pub trait App:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Unpin
    + 'static
{
}

impl<S> App for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Unpin
        + 'static
{
}

/// A connection that can be told to finish what it is doing and take nothing new.
pub(super) trait Graceful: Future {
    fn finish(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::Connection<I, S>
where
    Self: Future,
    S: hyper::service::Service<Request<Incoming>, Response = Response<Metered>, Error = Infallible>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves HTTP/1.1 on `io` until either side ends it. `place` is held as long.
///
/// An `async fn` would hold its arguments twice, for as long as the connection lives.
#[allow(clippy::manual_async_fn)]
pub(super) fn serve_http1<I, S>(
    mut io: I,
    mut service: Entry<S>,
    shared: Arc<Shared>,
    peer: SocketAddr,
    place: impl Send + 'static,
) -> impl Future<Output = ()> + Send
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: App,
{
    async move {
        let _place = &place;
        let state = Arc::clone(&service.state);
        loop {
            // Boxed, and its parts dropped in here: nothing of it is held while a live answer is
            // written, above all not its buffers.
            let mut live = {
                let connection = shared.http1.serve_connection(TokioIo::new(io), service);
                let mut connection = Box::new(Watched::http1(connection, Arc::clone(&state), shared.timeouts.clone()));
                let ended = drive(Pin::new(&mut *connection), &shared, || state.is_live_due()).await;
                match ended {
                    Ended::ByItself(Ok(())) | Ended::Cut => return,
                    Ended::ByItself(Err(error)) => {
                        // The peer's doing in all cases: gone, too slow, or not speaking HTTP.
                        tracing::debug!(%peer, %error, "connection ended");
                        return;
                    }
                    Ended::Interrupted => {}
                }
                let parts = connection.into_inner().into_parts();
                let Some(mut live) = state.take_live() else {
                    return;
                };
                // Bytes that were read ahead would be lost.
                live.keep &= parts.read_buf.is_empty();
                io = parts.io.into_inner();
                service = parts.service;
                live
            };
            live.keep &= !shared.stop.is_given();
            match until_cut(Writer::new(&mut io, live, &state.responses), &shared).await {
                Some(live::End::Reusable) if !shared.stop.is_given() => {}
                Some(live::End::Reusable | live::End::Last) => {
                    let _ = until_cut(pin!(io.shutdown()), &shared).await;
                    return;
                }
                Some(live::End::Broken) | None => return,
            }
        }
    }
}

/// How driving a connection ended.
pub(super) enum Ended<T> {
    /// It was over.
    ByItself(T),
    /// It was told to stop and did not in time.
    Cut,
    /// Somebody else has to go on with it.
    Interrupted,
}

/// Runs a connection to its end, which the stop signal brings nearer, or until `interrupt`.
pub(super) async fn drive<C: Graceful>(
    mut connection: Pin<&mut C>,
    shared: &Shared,
    interrupt: impl Fn() -> bool,
) -> Ended<C::Output> {
    let mut stop = pin!(shared.stop.wait());
    let ended = poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(Ended::ByItself(output)));
        }
        if interrupt() {
            return Poll::Ready(Some(Ended::Interrupted));
        }
        stop.as_mut().poll(cx).map(|()| None)
    })
    .await;
    if let Some(ended) = ended {
        return ended;
    }
    connection.as_mut().finish();
    let rest = poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(Ended::ByItself(output));
        }
        if interrupt() {
            return Poll::Ready(Ended::Interrupted);
        }
        Poll::Pending
    });
    until_cut(rest, shared).await.unwrap_or(Ended::Cut)
}

/// Runs something that ends by itself sooner or later; `None` when the time for it was over.
async fn until_cut<F: Future>(work: F, shared: &Shared) -> Option<F::Output> {
    let mut work = pin!(work);
    let mut cut = pin!(shared.cut.wait());
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
