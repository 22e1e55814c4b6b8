//! One SSE connection: what is sent next.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::poll_immediate;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::encode::{self, Connection, Progress};
use crate::{
    auth::Permit,
    engine::{Backlog, Event, Follower, ReadError, ReadState},
    http::{
        App,
        forward::Continuation,
        live::{self, LiveSlot},
    },
    protocol::cursor::Cursor,
};

/// The reconnection delay that clients are told, before jitter.
const RETRY: Duration = Duration::from_secs(2);

/// The reconnection delays, in milliseconds, of readers that a stop ends: around [`RETRY`], and
/// further apart, because readers that end together would otherwise return together.
const MIN_RETRY_AFTER_STOP: u64 = 1_000;
const MAX_RETRY_AFTER_STOP: u64 = 3_000;

/// A reader that never has to wait looks for an interruption after this many events. The others
/// look whenever they wait.
const MAX_EVENTS_IN_A_ROW: u8 = 8;

pin_project_lite::pin_project! {
    /// One SSE connection. It is polled only when its socket is writable, so a slow reader holds one
    /// shared chunk and does not delay others.
    pub(super) struct Reader {
        follower: Follower,
        backlog: Backlog,
        connection: Connection,
        // The control event that follows the data just sent.
        pending_control: Option<Bytes>,
        phase: Phase,
        // The last control event had `upToDate`.
        told_up_to_date: bool,
        events_in_a_row: u8,
        deadline: Option<Instant>,
        heartbeat: Duration,
        #[pin]
        timer: Sleep,
        #[pin]
        interrupted: WaitForCancellationFutureOwned,
        #[pin]
        key_withdrawn: WaitForCancellationFutureOwned,
        app: App,
        // How the read goes on once the store has been handed over.
        continuation: Option<Box<Continuation>>,
        relay: Option<Relay>,
        _slot: LiveSlot,
    }
}

/// The rest of the read, from the next holder of the store.
struct Relay {
    body: Body,
    /// The turn of this reader when the server stops.
    leave: Pin<Box<dyn Future<Output = ()> + Send>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
    /// The server is stopping; the read goes on until the deadline.
    Leaving,
    /// The rest comes from the next holder of the store.
    Relayed,
    Over,
}

/// The end of a wait.
enum Wake {
    Event(Result<Event, ReadError>),
    Interrupted,
    KeyWithdrawn,
    Timer,
}

impl Reader {
    pub(super) fn new(
        app: &App,
        permit: &Permit,
        client_cursor: Option<Cursor>,
        follower: Follower,
        slot: LiveSlot,
        continuation: Option<Box<Continuation>>,
    ) -> Self {
        Self {
            backlog: follower.backlog(),
            follower,
            connection: Connection::new(client_cursor, app.clock().millis(), app.random()),
            pending_control: None,
            phase: Phase::Opening,
            told_up_to_date: false,
            events_in_a_row: 0,
            deadline: live::end(permit, app.clock(), app.settings().connection.sse_reconnect_interval()),
            heartbeat: app.settings().connection.sse_heartbeat(),
            timer: tokio::time::sleep(Duration::ZERO),
            interrupted: app.phase().interrupted().clone().cancelled_owned(),
            app: app.clone(),
            continuation,
            relay: None,
            key_withdrawn: live::key_withdrawn(permit),
            _slot: slot,
        }
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.backlog.clone()
    }

    /// The next bytes to send; `None` at the end.
    pub(super) async fn next(mut self: Pin<&mut Self>) -> Option<Bytes> {
        let bytes = self.as_mut().next_bytes().await?;
        self.backlog.note(&self.follower);
        Some(bytes)
    }

    async fn next_bytes(mut self: Pin<&mut Self>) -> Option<Bytes> {
        if let Some(control) = self.as_mut().project().pending_control.take() {
            return Some(control);
        }
        loop {
            return match self.phase {
                Phase::Opening => Some(self.open()),
                // A stream that always has more must not outlive the token.
                Phase::Open | Phase::Leaving if self.is_past_deadline() => self.end(),
                Phase::Open | Phase::Leaving => match self.as_mut().wait().await {
                    Wake::Event(Ok(event)) => self.encode(event),
                    Wake::Event(Err(error)) => {
                        log_failure(&error);
                        None
                    }
                    Wake::Timer => self.beat(),
                    Wake::Interrupted if self.app.stopping().is_cancelled() => {
                        self.as_mut().leave();
                        continue;
                    }
                    Wake::Interrupted => self.relay().await,
                    // The client gets the status when it reconnects.
                    Wake::KeyWithdrawn => None,
                },
                Phase::Relayed => self.relayed().await,
                Phase::Over => None,
            };
        }
    }

    fn open(self: Pin<&mut Self>) -> Bytes {
        let mut this = self.project();
        this.timer.as_mut().reset(next_beat(*this.deadline, *this.heartbeat));
        let ReadState { up_to_date, closed } = this.follower.state();
        *this.phase = if closed { Phase::Over } else { Phase::Open };
        *this.told_up_to_date = up_to_date;
        let mut text = encode::retry(this.app.random().jittered(RETRY));
        if up_to_date {
            let progress = if closed { Progress::Closed } else { Progress::UpToDate };
            let cursor = this.connection.cursor(this.app.clock().millis());
            text.push_str(&encode::control(this.follower.position(), cursor, progress));
        }
        text.into()
    }

    async fn wait(self: Pin<&mut Self>) -> Wake {
        let this = self.project();
        let mut interruption = pin!(interruption(
            *this.phase,
            this.interrupted,
            this.key_withdrawn,
            this.timer
        ));
        *this.events_in_a_row += 1;
        if *this.events_in_a_row > MAX_EVENTS_IN_A_ROW {
            *this.events_in_a_row = 0;
            if let Some(wake) = poll_immediate(&mut interruption).await {
                return wake;
            }
        }
        tokio::select! {
            biased;
            event = next_event(this.follower, *this.told_up_to_date) => Wake::Event(event),
            wake = &mut interruption => wake,
        }
    }

    fn encode(self: Pin<&mut Self>, event: Event) -> Option<Bytes> {
        let this = self.project();
        let now = this.app.clock().millis();
        let progress = match event {
            Event::Chunk {
                up_to_date: false,
                closed: false,
                ..
            } => Progress::Behind,
            Event::Chunk { closed: false, .. } | Event::HeldBack => Progress::UpToDate,
            Event::Chunk { closed: true, .. } | Event::Closed => Progress::Closed,
            // The client gets 410 or 404 when it reconnects.
            Event::Gone { .. } => return None,
        };
        if progress == Progress::Closed {
            *this.phase = Phase::Over;
        }
        *this.told_up_to_date = progress != Progress::Behind;
        let Event::Chunk { chunk, .. } = event else {
            let cursor = this.connection.cursor(now);
            return Some(encode::control(this.follower.position(), cursor, progress).into());
        };
        let encoded = this.connection.encode(&chunk, progress, now);
        *this.pending_control = encoded.own_control;
        Some(encoded.shared)
    }

    /// The timer has run out: for a heartbeat, or because the deadline has come.
    fn beat(self: Pin<&mut Self>) -> Option<Bytes> {
        if self.is_past_deadline() {
            return self.end();
        }
        let this = self.project();
        // Events do not reset the timer; an extra heartbeat is harmless.
        this.timer.reset(next_beat(*this.deadline, *this.heartbeat));
        Some(Bytes::from_static(encode::HEARTBEAT))
    }

    /// Goes on with the same read at the next holder of the store.
    async fn relay(mut self: Pin<&mut Self>) -> Option<Bytes> {
        let this = self.as_mut().project();
        let continuation = this.continuation.take()?;
        let body = continuation.follow(this.app, this.follower.position()).await?;
        let app = this.app.clone();
        let leave = Box::pin(async move { app.turn_to_leave().await });
        (*this.phase, *this.relay) = (Phase::Relayed, Some(Relay { body, leave }));
        self.relayed().await
    }

    async fn relayed(mut self: Pin<&mut Self>) -> Option<Bytes> {
        let this = self.as_mut().project();
        let Relay { body, leave } = this.relay.as_mut()?;
        loop {
            tokio::select! {
                biased;
                () = leave.as_mut() => break,
                frame = body.frame() => match frame?.ok()?.into_data() {
                    Ok(data) => return Some(data),
                    Err(_) => continue,
                },
            }
        }
        *this.phase = Phase::Leaving;
        self.end()
    }

    /// The server is stopping: the deadline moves to this reader's turn.
    fn leave(self: Pin<&mut Self>) {
        let mut this = self.project();
        let turn = this.app.leave_at();
        let deadline = this.deadline.map_or(turn, |deadline| deadline.min(turn));
        *this.phase = Phase::Leaving;
        *this.deadline = Some(deadline);
        this.timer.as_mut().reset(next_beat(*this.deadline, *this.heartbeat));
    }

    /// The deadline has come. A reader of a stopping server is told when to return.
    fn end(self: Pin<&mut Self>) -> Option<Bytes> {
        let this = self.project();
        let is_leaving = *this.phase == Phase::Leaving;
        *this.phase = Phase::Over;
        is_leaving.then(|| {
            let retry = this.app.random().between(MIN_RETRY_AFTER_STOP, MAX_RETRY_AFTER_STOP);
            encode::retry(Duration::from_millis(retry)).into()
        })
    }

    fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

async fn interruption(
    phase: Phase,
    interrupted: Pin<&mut WaitForCancellationFutureOwned>,
    key_withdrawn: Pin<&mut WaitForCancellationFutureOwned>,
    timer: Pin<&mut Sleep>,
) -> Wake {
    tokio::select! {
        biased;
        () = interrupted, if phase != Phase::Leaving => Wake::Interrupted,
        () = key_withdrawn => Wake::KeyWithdrawn,
        () = timer => Wake::Timer,
    }
}

/// The next event. A reader that was told it is up to date is not told again when an append is
/// held back from it.
async fn next_event(follower: &mut Follower, told_up_to_date: bool) -> Result<Event, ReadError> {
    loop {
        match follower.next().await {
            Ok(Event::HeldBack) if told_up_to_date => {}
            event => return event,
        }
    }
}

fn next_beat(deadline: Option<Instant>, heartbeat: Duration) -> Instant {
    let beat = Instant::now() + heartbeat;
    deadline.map_or(beat, |deadline| deadline.min(beat))
}

fn log_failure(error: &ReadError) {
    // The client gets the status when it reconnects.
    if !matches!(error, ReadError::Trimmed { .. }) {
        tracing::error!(%error, "a live read ended because the store failed");
    }
}
