//! HTTP/1.1: hyper carries all responses but the live ones.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{
    drive::{Driven, Graceful, drive, until_cut},
    idle_timeout::IdleTimeout,
    service::ConnectionService,
};
use crate::listener::{
    http_service::HttpService,
    live::writer::{LiveWriter, Outcome},
    response::body::MeteredBody,
    shared::Shared,
};

impl<I, S> Graceful for http1::Connection<I, S>
where
    Self: Future,
    S: hyper::service::Service<Request<Incoming>, Response = Response<MeteredBody>, Error = Infallible>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn start_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves HTTP/1.1 on `io` until either side ends it. `guard` is dropped then.
///
/// An `async fn` would hold its arguments twice, for the connection's whole life.
#[allow(clippy::manual_async_fn)]
pub(in crate::listener) fn serve_http1<I, S>(
    mut io: I,
    mut service: ConnectionService<S>,
    shared: Arc<Shared>,
    guard: impl Send + 'static,
) -> impl Future<Output = ()> + Send
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    async move {
        let _guard = &guard;
        let state = Arc::clone(&service.state);
        loop {
            // Boxed and dropped in this block, so that neither the future nor its buffers exist
            // while a live response is written.
            let mut live = {
                let connection = shared.http1.serve_connection(TokioIo::new(io), service);
                let mut connection = Box::new(IdleTimeout::http1(connection, Arc::clone(&state), &shared.timeouts));
                match drive(Pin::new(&mut *connection), &shared, || state.is_takeover_due()).await {
                    Driven::Ended(Ok(())) | Driven::Cut => return,
                    Driven::Ended(Err(error)) => {
                        // The peer is gone, too slow, or does not speak HTTP.
                        tracing::debug!(peer = %state.peer.0, %error, "connection ended");
                        return;
                    }
                    Driven::Interrupted => {}
                }
                let parts = connection.into_inner().into_parts();
                let Some(mut live) = state.take_live() else {
                    return;
                };
                // A pipelined request that hyper has read is lost, so the connection must close.
                live.keep_alive &= parts.read_buf.is_empty();
                io = parts.io.into_inner();
                service = parts.service;
                live
            };
            live.keep_alive &= !shared.stop.is_sent();
            let writer = LiveWriter::new(&mut io, live, &state.responses, shared.clock.secs());
            match until_cut(writer, &shared).await {
                Some(Outcome::KeepAlive) if !shared.stop.is_sent() => {}
                Some(Outcome::KeepAlive | Outcome::Close) => {
                    let _ = until_cut(io.shutdown(), &shared).await;
                    return;
                }
                Some(Outcome::Aborted) | None => return,
            }
        }
    }
}
