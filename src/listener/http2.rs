//! What HTTP/2 needs beyond HTTP/1.1: one connection carries many exchanges there, so a socket
//! that moves says nothing about each of them.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::future::poll_fn;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::connection::{Ended, Graceful, drive};
use super::server::{Shared, Timeouts};

/// Exchanges that one connection may have under way. Browsers assume about a hundred.
const MAX_STREAMS: u32 = 128;

/// What a peer may send ahead on one exchange, and on all of a connection's together.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// What may wait to be sent on one exchange.
const SEND_BUFFER: usize = 64 * 1024;

/// Exchanges that were reset before we came to look at them (CVE-2023-44487) or that we had to
/// reset ourselves (CVE-2025-8671), before the connection is ended.
const MAX_PENDING_RESETS: usize = 20;
const MAX_OWN_RESETS: usize = 256;

/// How long an idle connection that was told to go may take to do so.
const GOODBYE: Duration = Duration::from_secs(5);

/// The largest piece that is handed on at once: a stall shows when a piece is not taken, so a
/// piece must be small enough for a slow but willing reader.
const PIECE: usize = 64 * 1024;

/// Serves HTTP/2 on `io` until either side ends it.
pub(super) async fn serve_http2<I, S>(io: I, service: S, shared: Arc<Shared>, peer: SocketAddr)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    let streams = Streams {
        counts: Arc::default(),
        write_timeout: shared.timeouts.write,
    };
    let connection =
        builder(&streams, &shared.timeouts, shared.max_header_bytes).serve_connection(TokioIo::new(io), service);
    let mut connection = Busy {
        connection: Box::pin(connection),
        streams,
        idle_after: shared.timeouts.header,
        timer: None,
        begun: 0,
        told: false,
    };
    if let Ended::ByItself(Err(error)) = drive(Pin::new(&mut connection), &shared, || false).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

fn builder(streams: &Streams, timeouts: &Timeouts, max_header_bytes: usize) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_OWN_RESETS)
        .keep_alive_interval(timeouts.header)
        .keep_alive_timeout(timeouts.write);
    builder
}

/// A connection that is told to go when nothing has been under way for the header timeout:
/// the counterpart of HTTP/1.1's idle timeout, which hyper lacks here. It also ends what never
/// gets as far as a first request.
struct Busy<C> {
    connection: Pin<Box<C>>,
    streams: Streams,
    idle_after: Duration,
    /// Runs while nothing is under way.
    timer: Option<Pin<Box<Sleep>>>,
    /// How many exchanges had begun when it was started.
    begun: usize,
    told: bool,
}

impl<C: Graceful + Future<Output = hyper::Result<()>>> Future for Busy<C> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Poll::Ready(output) = this.connection.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            this.streams.counts.idle.register(cx.waker());
            let begun = this.streams.counts.begun.load(Ordering::Acquire);
            if this.streams.counts.open.load(Ordering::Acquire) > 0 || begun != this.begun {
                this.timer = None;
                this.begun = begun;
            }
            if this.streams.counts.open.load(Ordering::Acquire) > 0 {
                return Poll::Pending;
            }
            let after = if this.told { GOODBYE } else { this.idle_after };
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(after)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if this.told {
                return Poll::Ready(Ok(()));
            }
            Pin::new(&mut *this).finish();
        }
    }
}

impl<C> Graceful for Busy<C>
where
    Self: Future,
    C: Graceful,
{
    fn finish(mut self: Pin<&mut Self>) {
        // A peer that does not answer the farewell must not use up the time of a stop.
        self.told = true;
        self.timer = None;
        self.connection.as_mut().finish();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, Streams>
where
    Self: Future,
    S: hyper::service::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection's exchanges, each as a task, and counts them.
#[derive(Debug, Clone)]
struct Streams {
    counts: Arc<Counts>,
    write_timeout: Duration,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    open: AtomicUsize,
    /// Woken when `open` falls to zero.
    idle: AtomicWaker,
}

/// One exchange's share in `open`.
struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.wake();
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, exchange: F) {
        self.counts.begun.fetch_add(1, Ordering::AcqRel);
        self.counts.open.fetch_add(1, Ordering::AcqRel);
        let open = Open(Arc::clone(&self.counts));
        let write_timeout = self.write_timeout;
        tokio::spawn(async move {
            run(exchange, write_timeout).await;
            drop(open);
        });
    }
}

/// How far one exchange's reader is. Written and read in one task only.
#[derive(Debug, Default)]
struct Taking {
    /// Pieces handed on so far.
    pieces: AtomicUsize,
    /// The last of them has not been asked beyond: it waits for the reader's window.
    waiting: AtomicBool,
}

tokio::task_local! {
    static TAKING: Arc<Taking>;
}

/// Runs one exchange, and drops it (which resets it) when its reader has taken nothing for
/// `write_timeout` although there is something to take. The others on the connection go on.
async fn run<F: Future<Output = ()>>(exchange: F, write_timeout: Duration) {
    let taking = Arc::new(Taking::default());
    let mut exchange = pin!(TAKING.scope(Arc::clone(&taking), exchange));
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut seen = 0;
    poll_fn(|cx| {
        if exchange.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !taking.waiting.load(Ordering::Relaxed) {
            timer = None;
            return Poll::Pending;
        }
        let pieces = taking.pieces.load(Ordering::Relaxed);
        if pieces != seen {
            seen = pieces;
            timer = None;
        }
        timer
            .get_or_insert_with(|| Box::pin(sleep(write_timeout)))
            .as_mut()
            .poll(cx)
    })
    .await;
}

/// A response's body that notes what its reader takes.
struct Watched {
    body: Body,
    /// The rest of a piece that was too large to be handed on at once.
    rest: Bytes,
    taking: Option<Arc<Taking>>,
}

/// Lets [`run`] see how `response` is taken.
pub(super) fn watched(response: Response<Body>) -> Response<Body> {
    response.map(|body| {
        Body::new(Watched {
            body,
            rest: Bytes::new(),
            taking: None,
        })
    })
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let taking = this
            .taking
            .get_or_insert_with(|| TAKING.try_with(Arc::clone).unwrap_or_default());
        taking.waiting.store(false, Ordering::Relaxed);
        if this.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        taking.pieces.fetch_add(1, Ordering::Relaxed);
        taking.waiting.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() {
            self.body.size_hint()
        } else {
            SizeHint::default()
        }
    }
}
