//! The timeouts of a connection that has no request under way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::ConnectionConfig;
use super::connection::Graceful;
use super::state::ConnectionState;

/// How long an HTTP/2 connection that was told to go may take to do so.
const GOODBYE: Duration = Duration::from_secs(5);

/// A connection that ends when the next request does not arrive in time. hyper's own timeout for a
/// request's head cannot tell a head that trickles from a connection that is kept for later, and
/// it has none at all for HTTP/2.
pub(super) struct Watched<C> {
    connection: C,
    state: Arc<ConnectionState>,
    timeouts: ConnectionConfig,
    http2: bool,
    phase: Phase,
    since: Instant,
    /// The requests that had begun at the last look.
    begun: usize,
    /// The reads before the connection became idle.
    reads: usize,
    /// The client was told to go (HTTP/2).
    told: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first request has not begun.
    First,
    /// Requests are under way.
    Busy,
    /// The next request has not begun.
    Idle,
    /// A part of the next request's head has arrived.
    Head,
    /// The client was told to go, and has nothing under way.
    Told,
}

impl<C> Watched<C> {
    pub(super) fn http1(connection: C, state: Arc<ConnectionState>, timeouts: ConnectionConfig) -> Self {
        Self::new(connection, state, timeouts, false)
    }

    pub(super) fn http2(connection: C, state: Arc<ConnectionState>, timeouts: ConnectionConfig) -> Self {
        Self::new(connection, state, timeouts, true)
    }

    fn new(connection: C, state: Arc<ConnectionState>, timeouts: ConnectionConfig, http2: bool) -> Self {
        Self {
            connection,
            phase: Phase::First,
            since: Instant::now(),
            begun: 0,
            reads: 0,
            told: false,
            state,
            timeouts,
            http2,
            timer: None,
        }
    }

    pub(super) fn into_inner(self) -> C {
        self.connection
    }

    /// Looks where the connection is, after it has done what it could.
    fn observe(&mut self) {
        let begun = self.state.begun();
        let came_and_went = begun != self.begun;
        self.begun = begun;
        let phase = if self.state.is_busy() {
            Phase::Busy
        } else if self.told {
            Phase::Told
        } else if begun == 0 {
            Phase::First
        } else if came_and_went || self.phase == Phase::Busy {
            Phase::Idle
        } else if !self.http2 && self.state.reads() != self.reads {
            Phase::Head
        } else {
            self.phase
        };
        if phase == self.phase && !came_and_went {
            return;
        }
        self.phase = phase;
        self.since = Instant::now();
        if phase == Phase::Idle {
            self.reads = self.state.reads();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let after = match self.phase {
            Phase::First | Phase::Head => self.timeouts.header_timeout(),
            Phase::Idle => self.timeouts.idle_timeout(),
            Phase::Told => GOODBYE,
            Phase::Busy => return None,
        };
        Some(self.since + after)
    }

    /// Ready when the phase has lasted too long. The timer is only moved forward, and otherwise
    /// set anew when it fires: most phases are over long before.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.deadline() else {
                return Poll::Pending;
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            std::task::ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

impl<C: Graceful + Future<Output = hyper::Result<()>> + Unpin> Future for Watched<C> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Poll::Ready(output) = Pin::new(&mut this.connection).poll(cx) {
                return Poll::Ready(output);
            }
            if this.http2 {
                // Its requests run in tasks of their own.
                this.state.register(cx.waker());
                if this.state.is_abused() {
                    return Poll::Ready(Ok(()));
                }
            }
            this.observe();
            std::task::ready!(this.poll_timeout(cx));
            if !this.http2 || this.told {
                return Poll::Ready(Ok(()));
            }
            Pin::new(&mut *this).finish();
        }
    }
}

impl<C> Graceful for Watched<C>
where
    Self: Future,
    C: Graceful + Unpin,
{
    fn finish(mut self: Pin<&mut Self>) {
        if self.http2 {
            // A client that does not answer the farewell must not use up the time of a stop.
            self.told = true;
        }
        Pin::new(&mut self.connection).finish();
    }
}
