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
use tokio::io::{AsyncRead, AsyncWrite};

use super::server::Shared;

/// What an application must be to be served: an `axum::Router` is. Cloned for each request.
pub trait App:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> App for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// A connection that can be told to finish what it is doing and take nothing new.
trait Graceful: Future {
    fn finish(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::Connection<I, S>
where
    Self: Future,
    S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves HTTP/1.1 on `io` until either side ends it.
pub(super) async fn serve_http1<I, S>(io: I, service: S, shared: Arc<Shared>, peer: SocketAddr)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send,
{
    let connection = shared.http1.serve_connection(TokioIo::new(io), service);
    if let Some(Err(error)) = drive(connection, &shared).await {
        // The peer's doing in all cases: gone, too slow, or not speaking HTTP.
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Runs a connection to its end, which the stop signal brings nearer; `None` when it had to be
/// cut.
async fn drive<C: Graceful>(connection: C, shared: &Shared) -> Option<C::Output> {
    let mut connection = pin!(connection);
    let mut stop = pin!(shared.stop.wait());
    let ended = poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        stop.as_mut().poll(cx).map(|()| None)
    })
    .await;
    if ended.is_some() {
        return ended;
    }
    connection.as_mut().finish();
    let mut cut = pin!(shared.cut.wait());
    poll_fn(|cx| {
        if let Poll::Ready(output) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        cut.as_mut().poll(cx).map(|()| {
            shared.count_cut();
            None
        })
    })
    .await
}
