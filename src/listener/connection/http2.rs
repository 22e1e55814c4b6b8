//! HTTP/2: one connection carries many requests, each in a stream of its own.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    cancellations::{CancellationLimit, EARLY},
    drive::{Driven, Graceful, drive},
    idle_timeout::IdleTimeout,
    service::ConnectionService,
    state::ConnectionState,
};
use crate::listener::{
    ConnectionConfig,
    http_service::HttpService,
    response::{
        body::MeteredBody,
        budget::ResponseBudget,
        progress::{ProgressHandoff, StreamEnd, run_stream},
    },
    shared::Shared,
};

/// Open streams of one connection. Browsers assume about a hundred.
const MAX_STREAMS: u32 = 128;

/// The receive windows of one stream and of a whole connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// The send buffer of h2 for one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that the client reset before they were accepted (CVE-2023-44487), and streams that we
/// had to reset (CVE-2025-8671): more than that end the connection. A client may well cancel all of
/// its requests at once, and do so again.
const MAX_PENDING_RESETS: usize = 2 * MAX_STREAMS as usize;
const MAX_OWN_RESETS: usize = 256;

/// Serves HTTP/2 on `io` until either side ends it.
pub(in crate::listener) async fn serve_http2<I, S>(io: I, mut service: ConnectionService<S>, shared: Arc<Shared>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let peer = service.state.peer.0;
    let state = Arc::clone(&service.state);
    let budget = ResponseBudget::of_connection(shared.max_response_bytes_per_connection, &service.budget);
    let budget = Arc::new(budget);
    let progress = Arc::new(ProgressHandoff::default());
    service.budget = Arc::clone(&budget);
    service.progress = Some(Arc::clone(&progress));
    let executor = StreamExecutor {
        state: Arc::clone(&state),
        budget,
        progress,
        write_timeout: shared.timeouts.write_timeout(),
        cancellations: Arc::new(Mutex::new(CancellationLimit::new())),
    };
    let connection =
        builder(executor, &shared.timeouts, shared.max_header_bytes).serve_connection(TokioIo::new(io), service);
    let mut connection = Box::new(IdleTimeout::http2(connection, Arc::clone(&state), &shared.timeouts));
    match drive(Pin::new(&mut *connection), &shared, || false).await {
        Driven::Ended(Err(error)) => tracing::debug!(%peer, %error, "connection ended"),
        Driven::Ended(Ok(())) if state.has_too_many_cancellations() => {
            tracing::debug!(%peer, "connection closed: it cancelled too many requests");
        }
        _ => {}
    }
}

fn builder(
    executor: StreamExecutor,
    timeouts: &ConnectionConfig,
    max_header_bytes: usize,
) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(executor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_OWN_RESETS)
        .keep_alive_interval(timeouts.header_timeout())
        .keep_alive_timeout(timeouts.write_timeout());
    builder
}

impl<I, S> Graceful for http2::Connection<I, S, StreamExecutor>
where
    Self: Future,
    S: hyper::service::Service<Request<Incoming>, Response = Response<MeteredBody>, Error = Infallible>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn start_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs each stream of a connection in a task, and resets it when its client does not read.
#[derive(Debug, Clone)]
struct StreamExecutor {
    state: Arc<ConnectionState>,
    budget: Arc<ResponseBudget>,
    progress: Arc<ProgressHandoff>,
    write_timeout: Duration,
    cancellations: Arc<Mutex<CancellationLimit>>,
}

impl<F> Executor<F> for StreamExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let in_flight = self.state.start_request();
        let progress = self.progress.take();
        let this = self.clone();
        tokio::spawn(async move {
            let started = Instant::now();
            let end = run_stream(stream, &progress, this.write_timeout, &this.budget).await;
            let is_early = end == StreamEnd::Cancelled && started.elapsed() < EARLY;
            if is_early && !this.cancellations.lock().try_count() {
                this.state.report_too_many_cancellations();
            }
            drop(in_flight);
        });
    }
}
