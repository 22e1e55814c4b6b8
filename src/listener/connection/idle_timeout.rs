//! The timeouts of a connection without requests in flight.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{drive::Graceful, state::ConnectionState};
use crate::listener::ConnectionConfig;

/// How long an HTTP/2 connection may stay open after our GOAWAY with nothing in flight.
const GOAWAY_GRACE: Duration = Duration::from_secs(5);

/// How long a connection may stay open without a first request when the server stops: what its
/// client has just sent is still answered.
pub(super) const LAST_CALL: Duration = Duration::from_secs(2);

/// The same for a kept-alive connection, whose client needs no handshake before its next request.
const LAST_CALL_KEPT_ALIVE: Duration = Duration::from_secs(1);

/// Ends a connection when the next request does not arrive in time. hyper's own header timeout
/// cannot tell a slow request head from a kept-alive connection, and HTTP/2 has none at all.
pub(super) struct IdleTimeout<C> {
    connection: C,
    state: Arc<ConnectionState>,
    header_timeout: Duration,
    idle_timeout: Duration,
    is_http2: bool,
    phase: Phase,
    phase_started: Instant,
    /// The number of started requests at the last observation.
    requests: usize,
    /// The number of reads when the connection became idle.
    reads: usize,
    goaway_sent: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first request.
    First,
    /// With requests in flight.
    Busy,
    /// Between requests.
    Idle,
    /// A part of the next request's head has arrived (HTTP/1.1).
    Head,
    /// GOAWAY has been sent and nothing is in flight (HTTP/2).
    GoingAway,
}

impl<C> IdleTimeout<C> {
    pub(super) fn http1(connection: C, state: Arc<ConnectionState>, timeouts: &ConnectionConfig) -> Self {
        Self::new(connection, state, timeouts, false)
    }

    pub(super) fn http2(connection: C, state: Arc<ConnectionState>, timeouts: &ConnectionConfig) -> Self {
        Self::new(connection, state, timeouts, true)
    }

    fn new(connection: C, state: Arc<ConnectionState>, timeouts: &ConnectionConfig, is_http2: bool) -> Self {
        Self {
            connection,
            phase: Phase::First,
            phase_started: Instant::now(),
            requests: 0,
            reads: 0,
            goaway_sent: false,
            state,
            header_timeout: timeouts.header_timeout(),
            idle_timeout: timeouts.idle_timeout(),
            is_http2,
            timer: None,
        }
    }

    pub(super) fn into_inner(self) -> C {
        self.connection
    }

    /// Updates the phase after the connection has been polled.
    fn observe(&mut self) {
        let requests = self.state.started();
        let has_new_requests = requests != self.requests;
        self.requests = requests;
        let phase = if self.state.is_busy() {
            Phase::Busy
        } else if self.goaway_sent {
            Phase::GoingAway
        } else if requests == 0 {
            Phase::First
        } else if has_new_requests || self.phase == Phase::Busy {
            Phase::Idle
        } else if !self.is_http2 && self.state.reads() != self.reads {
            Phase::Head
        } else {
            self.phase
        };
        if phase == self.phase && !has_new_requests {
            return;
        }
        self.phase = phase;
        // A busy connection has no deadline.
        if phase != Phase::Busy {
            self.phase_started = Instant::now();
        }
        if phase == Phase::Idle {
            self.reads = self.state.reads();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let timeout = match self.phase {
            Phase::First | Phase::Head => self.header_timeout,
            Phase::Idle => self.idle_timeout,
            Phase::GoingAway => GOAWAY_GRACE,
            Phase::Busy => return None,
        };
        Some(self.phase_started + timeout)
    }

    /// Ready when the phase has lasted too long. Most phases end long before that, so a running
    /// timer is left alone unless it is too late, and is set again when it fires too early.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.deadline() else {
                return Poll::Pending;
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

impl<C: Graceful + Future<Output = hyper::Result<()>> + Unpin> Future for IdleTimeout<C> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            if let Poll::Ready(output) = Pin::new(&mut this.connection).poll(cx) {
                return Poll::Ready(output);
            }
            if this.is_http2 {
                // Its requests run in tasks of their own and wake this one through the state.
                this.state.register(cx.waker());
                if this.state.has_too_many_cancellations() {
                    return Poll::Ready(Ok(()));
                }
            }
            this.observe();
            ready!(this.poll_timeout(cx));
            if !this.is_http2 || this.goaway_sent {
                return Poll::Ready(Ok(()));
            }
            Pin::new(&mut *this).start_shutdown();
        }
    }
}

impl<C> Graceful for IdleTimeout<C>
where
    Self: Future,
    C: Graceful + Unpin,
{
    fn start_shutdown(mut self: Pin<&mut Self>) {
        if self.is_http2 {
            // Starts the grace period, so that an unresponsive peer cannot delay a shutdown.
            self.goaway_sent = true;
        } else if !self.state.is_busy() {
            // hyper would close the connection, though a request may be under way. Its response
            // announces the close.
            self.state.expect_last_request();
            self.header_timeout = self.header_timeout.min(LAST_CALL);
            self.idle_timeout = self.idle_timeout.min(LAST_CALL_KEPT_ALIVE);
            self.phase_started = Instant::now();
            return;
        }
        Pin::new(&mut self.connection).start_shutdown();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::future::poll_fn;
    use tokio::time::sleep;

    use super::*;
    use crate::listener::{peer::PeerAddr, response::budget::ResponseBudget};

    fn peer() -> PeerAddr {
        PeerAddr("192.0.2.1:1".parse().unwrap())
    }

    /// 10 s for a head, 60 s for the next request.
    fn timeouts() -> ConnectionConfig {
        ConnectionConfig {
            header_timeout_secs: 10,
            idle_timeout_secs: 60,
            ..ConnectionConfig::default()
        }
    }

    /// A connection that never ends by itself.
    struct Open;

    impl Future for Open {
        type Output = hyper::Result<()>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            Poll::Pending
        }
    }

    impl Graceful for Open {
        fn start_shutdown(self: Pin<&mut Self>) {}
    }

    fn state() -> Arc<ConnectionState> {
        let budget = ResponseBudget::new(1 << 20, timeouts().write_timeout());
        Arc::new(ConnectionState::new(peer(), Arc::new(budget)))
    }

    /// Runs `script` beside a connection and returns how long the connection lasted after it.
    async fn lasts(mut connection: IdleTimeout<Open>, script: impl Future<Output = ()>) -> u64 {
        let mut script = pin!(script);
        let mut script_ended = None;
        poll_fn(|cx| {
            if script_ended.is_none() && script.as_mut().poll(cx).is_ready() {
                script_ended = Some(Instant::now());
            }
            Pin::new(&mut connection).poll(cx)
        })
        .await
        .unwrap();
        script_ended.expect("the connection ended first").elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_request_has_the_header_timeout() {
        let state = state();
        assert_eq!(lasts(IdleTimeout::http1(Open, state, &timeouts()), async {}).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_has_the_idle_timeout_and_a_started_head_the_header_timeout() {
        let state = state();
        let (requests, reads) = (Arc::clone(&state), Arc::clone(&state));
        let idle = lasts(IdleTimeout::http1(Open, Arc::clone(&state), &timeouts()), async move {
            let request = requests.start_request();
            sleep(Duration::from_secs(3600)).await;
            drop(request);
        });
        assert_eq!(idle.await, 60);
        let head = lasts(IdleTimeout::http1(Open, state, &timeouts()), async move {
            drop(reads.start_request());
            sleep(Duration::from_secs(5)).await;
            reads.count_read();
        });
        assert_eq!(head.await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_leaves_a_kept_connection_a_moment_for_a_request_under_way() {
        let state = state();
        let requests = Arc::clone(&state);
        let mut connection = IdleTimeout::http1(Open, Arc::clone(&state), &timeouts());
        drop(requests.start_request());
        assert!(futures_util::poll!(Pin::new(&mut connection)).is_pending());
        Pin::new(&mut connection).start_shutdown();
        assert!(state.is_last_request());
        assert_eq!(lasts(connection, async {}).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_http2_connection_gets_a_grace_period_after_goaway() {
        let state = state();
        let requests = Arc::clone(&state);
        let idle = lasts(IdleTimeout::http2(Open, state, &timeouts()), async move {
            drop(requests.start_request());
        });
        assert_eq!(idle.await, 60 + 5);
    }
}
