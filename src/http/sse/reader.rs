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
    clock::Clock,
    engine::{Backlog, Event, Follower, ReadError, ReadState},
    http::{
        App,
        forward::Continuation,
        live::{self, LiveSlot},
    },
    protocol::cursor::Cursor,
    random::Random,
};

/// The reconnection delay that clients are told, before jitter.
const RETRY: Duration = Duration::from_secs(2);

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
        clock: Clock,
        random: Random,
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
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Open,
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
        let (clock, random) = (app.clock().clone(), app.random().clone());
        Self {
            backlog: follower.backlog(),
            follower,
            connection: Connection::new(client_cursor, clock.millis(), &random),
            pending_control: None,
            phase: Phase::Opening,
            told_up_to_date: false,
            events_in_a_row: 0,
            deadline: live::end(permit, &clock, app.settings().connection.sse_reconnect_interval()),
            heartbeat: app.settings().connection.sse_heartbeat(),
            clock,
            random,
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
        match self.phase {
            Phase::Opening => Some(self.open()),
            // A stream that always has more must not outlive the token.
            Phase::Open if self.is_past_deadline() => None,
            Phase::Open => match self.as_mut().wait().await {
                Wake::Event(Ok(event)) => self.encode(event),
                Wake::Event(Err(error)) => {
                    log_failure(&error);
                    None
                }
                Wake::Timer => self.beat(),
                Wake::Interrupted if self.app.stopping().is_cancelled() => Some(self.say_goodbye()),
                Wake::Interrupted => self.relay().await,
                // The client gets the status when it reconnects.
                Wake::KeyWithdrawn => None,
            },
            Phase::Relayed => self.relayed().await,
            Phase::Over => None,
        }
    }

    fn open(self: Pin<&mut Self>) -> Bytes {
        let mut this = self.project();
        this.timer.as_mut().reset(next_beat(*this.deadline, *this.heartbeat));
        let ReadState { up_to_date, closed } = this.follower.state();
        *this.phase = if closed { Phase::Over } else { Phase::Open };
        *this.told_up_to_date = up_to_date;
        let mut text = encode::retry(this.random.jittered(RETRY));
        if up_to_date {
            let progress = if closed { Progress::Closed } else { Progress::UpToDate };
            let cursor = this.connection.cursor(this.clock.millis());
            text.push_str(&encode::control(this.follower.position(), cursor, progress));
        }
        text.into()
    }

    async fn wait(self: Pin<&mut Self>) -> Wake {
        let this = self.project();
        let mut interruption = pin!(interruption(this.interrupted, this.key_withdrawn, this.timer));
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
        let now = this.clock.millis();
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
            return None;
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
        let stopping = Box::pin(this.app.stopping().clone().cancelled_owned());
        (*this.phase, *this.relay) = (Phase::Relayed, Some(Relay { body, stopping }));
        self.relayed().await
    }

    async fn relayed(self: Pin<&mut Self>) -> Option<Bytes> {
        let this = self.project();
        let Relay { body, stopping } = this.relay.as_mut()?;
        loop {
            tokio::select! {
                biased;
                () = stopping.as_mut() => return None,
                frame = body.frame() => match frame?.ok()?.into_data() {
                    Ok(data) => return Some(data),
                    Err(_) => continue,
                },
            }
        }
    }

    fn say_goodbye(self: Pin<&mut Self>) -> Bytes {
        let this = self.project();
        *this.phase = Phase::Over;
        encode::retry(this.random.jittered(RETRY)).into()
    }

    fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

async fn interruption(
    interrupted: Pin<&mut WaitForCancellationFutureOwned>,
    key_withdrawn: Pin<&mut WaitForCancellationFutureOwned>,
    timer: Pin<&mut Sleep>,
) -> Wake {
    tokio::select! {
        biased;
        () = interrupted => Wake::Interrupted,
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
