//! HTTP/2: one connection carries many requests, each in a stream of its own.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::App;
use super::connection::{Ended, Graceful, drive};
use super::idle::Watched;
use super::metered::Metered;
use super::responses::Budget;
use super::service::Entry;
use super::state::ConnectionState;
use super::taking::{End, run};
use super::{ConnectionConfig, server::Shared};

/// Streams that one connection may have open. Browsers assume about a hundred.
const MAX_STREAMS: u32 = 128;

/// The receive windows of one stream and of a whole connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// The send buffer of h2 for one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// Streams that were reset before they were accepted (CVE-2023-44487) or that we had to reset
/// ourselves (CVE-2025-8671), before the connection is ended. A client may well cancel all that it
/// has under way at once, and do so again.
const MAX_PENDING_RESETS: usize = 2 * MAX_STREAMS as usize;
const MAX_OWN_RESETS: usize = 256;

/// A request that is cancelled this soon counts among [`Cancellations`].
const EARLY: Duration = Duration::from_secs(1);
const CANCELLATIONS_AT_ONCE: f64 = 512.0;
const CANCELLATIONS_PER_SECOND: f64 = 64.0;

/// Serves HTTP/2 on `io` until either side ends it.
pub(super) async fn serve_http2<I, S>(io: I, mut service: Entry<S>, shared: Arc<Shared>, peer: SocketAddr)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: App,
{
    let budget = Budget::of_connection(shared.max_response_bytes_per_connection, &service.meter.budget);
    let budget = Arc::new(budget);
    service.meter.budget = Arc::clone(&budget);
    let state = Arc::clone(&service.state);
    let streams = Streams {
        state: Arc::clone(&state),
        budget,
        write_timeout: shared.timeouts.write_timeout(),
        cancellations: Arc::new(Mutex::new(Cancellations::new())),
    };
    let connection =
        builder(streams, &shared.timeouts, shared.max_header_bytes).serve_connection(TokioIo::new(io), service);
    let mut connection = Box::new(Watched::http2(connection, Arc::clone(&state), shared.timeouts.clone()));
    match drive(Pin::new(&mut *connection), &shared, || false).await {
        Ended::ByItself(Err(error)) => tracing::debug!(%peer, %error, "connection ended"),
        Ended::ByItself(Ok(())) if state.is_abused() => {
            tracing::debug!(%peer, "connection ended: it cancelled too many requests");
        }
        _ => {}
    }
}

fn builder(streams: Streams, timeouts: &ConnectionConfig, max_header_bytes: usize) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
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

impl<I, S> Graceful for http2::Connection<I, S, Streams>
where
    Self: Future,
    S: hyper::service::Service<Request<Incoming>, Response = Response<Metered>, Error = Infallible>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection's streams, each as a task.
#[derive(Debug, Clone)]
struct Streams {
    state: Arc<ConnectionState>,
    budget: Arc<Budget>,
    write_timeout: Duration,
    cancellations: Arc<Mutex<Cancellations>>,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let open = self.state.begin();
        let this = self.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let end = run(stream, this.write_timeout, &this.budget).await;
            if end == End::Cancelled && begun.elapsed() < EARLY && !this.cancellations.lock().count() {
                this.state.report_abuse();
            }
            drop(open);
        });
    }
}

/// The requests that a client may cancel soon after it has sent them: as many as a browser does
/// that leaves a page, and then some each second. An attack cancels thousands (CVE-2023-44487).
#[derive(Debug)]
struct Cancellations {
    left: f64,
    since: Instant,
}

impl Cancellations {
    fn new() -> Self {
        Self {
            left: CANCELLATIONS_AT_ONCE,
            since: Instant::now(),
        }
    }

    /// Counts one; false when it is too many.
    fn count(&mut self) -> bool {
        let passed = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        self.left = (self.left + passed * CANCELLATIONS_PER_SECOND).min(CANCELLATIONS_AT_ONCE) - 1.0;
        self.left >= 0.0
    }
}
