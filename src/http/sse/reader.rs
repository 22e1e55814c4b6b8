//! One SSE connection: what is sent next.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};
use tokio::{task::coop, time::Instant};

use super::{
    encode::{self, Connection, Progress},
    interruptions::{Interruption, Interruptions},
    relay::{relay, retry_after_stop},
};
use crate::{
    auth::Permit,
    engine::{Event, Follower, ReadError, ReadState},
    http::{
        App,
        forward::Continuation,
        live::{self, LiveSlot},
        phase::Tenure,
    },
    protocol::cursor::Cursor,
};

/// The reconnection delay that clients are told, before jitter.
const RETRY: Duration = Duration::from_secs(2);

pin_project_lite::pin_project! {
    /// The body of one SSE connection. It is polled only when its socket is writable, so a slow
    /// reader holds one shared chunk and does not delay others.
    ///
    /// Polled by hand: the future of an `async fn` would double the memory of an idle reader.
    pub(super) struct Reader {
        follower: Follower,
        connection: Connection,
        // The control event that follows the data just sent.
        pending_control: Option<Bytes>,
        phase: Phase,
        // The last control event had `upToDate`.
        told_up_to_date: bool,
        deadline: Option<Instant>,
        #[pin]
        interruptions: Interruptions,
        app: App,
        tenure: Arc<Tenure>,
        // How the read goes on once the store has been handed over.
        continuation: Option<Box<Continuation>>,
        relay: Option<Pin<Box<dyn Stream<Item = Bytes> + Send>>>,
        _slot: LiveSlot,
    }
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

impl Reader {
    pub(super) fn new(
        app: &App,
        permit: &Permit,
        client_cursor: Option<Cursor>,
        tenure: Arc<Tenure>,
        follower: Follower,
        slot: LiveSlot,
        continuation: Option<Box<Continuation>>,
    ) -> Self {
        let deadline = live::end(permit, app.clock(), app.settings().connection.sse_reconnect_interval());
        let first_beat = next_beat(deadline, app);
        Self {
            follower,
            connection: Connection::new(client_cursor, app.clock().millis(), app.random()),
            pending_control: None,
            phase: Phase::Opening,
            told_up_to_date: false,
            deadline,
            interruptions: Interruptions::new(&tenure.interrupted, permit.key_withdrawn(), first_beat),
            app: app.clone(),
            tenure,
            continuation,
            relay: None,
            _slot: slot,
        }
    }

    /// The next bytes to send; `None` at the end.
    fn poll_bytes(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(control) = self.as_mut().project().pending_control.take() {
            return Poll::Ready(Some(control));
        }
        loop {
            match self.phase {
                Phase::Opening => return Poll::Ready(Some(self.open())),
                Phase::Relayed => return self.poll_relayed(cx),
                Phase::Over => return Poll::Ready(None),
                Phase::Open | Phase::Leaving => {}
            }
            // Interruptions come first: a stream that always has more must not outlive the token.
            let heeds_server = self.phase == Phase::Open;
            match self.as_mut().project().interruptions.look(heeds_server, cx) {
                Some(Interruption::Server) if self.app.stopping().is_cancelled() => self.as_mut().leave(),
                Some(Interruption::Server) => self.as_mut().start_relay(),
                // The client gets the status when it reconnects.
                Some(Interruption::KeyWithdrawn) => return Poll::Ready(None),
                Some(Interruption::Timer) => return Poll::Ready(self.beat()),
                None => {
                    let event = ready!(self.as_mut().poll_event(cx));
                    return Poll::Ready(event.ok().and_then(|event| self.encode(event)));
                }
            }
        }
    }

    fn open(self: Pin<&mut Self>) -> Bytes {
        let this = self.project();
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

    /// The next event. A reader that was told it is up to date is not told again when an append is
    /// held back from it.
    fn poll_event(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Event, ReadError>> {
        // A stream that always has more must let other tasks run.
        let budget = ready!(coop::poll_proceed(cx));
        let this = self.project();
        let event = loop {
            match ready!(this.follower.poll_next(cx)) {
                Ok(Event::HeldBack) if *this.told_up_to_date => {}
                event => break event,
            }
        };
        budget.made_progress();
        if let Err(error) = &event {
            log_failure(error);
        }
        Poll::Ready(event)
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
    fn beat(mut self: Pin<&mut Self>) -> Option<Bytes> {
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return self.end();
        }
        // Events do not reset the timer; an extra heartbeat is harmless.
        self.as_mut().set_timer();
        Some(Bytes::from_static(encode::HEARTBEAT))
    }

    fn set_timer(self: Pin<&mut Self>) {
        let this = self.project();
        this.interruptions.set_timer(next_beat(*this.deadline, this.app));
    }

    /// Goes on with the same read at the next holder of the store.
    fn start_relay(self: Pin<&mut Self>) {
        let this = self.project();
        *this.phase = Phase::Relayed;
        let (app, tenure) = (this.app.clone(), Arc::clone(this.tenure));
        let continuation = this.continuation.take();
        *this.relay = continuation.map(|continuation| relay(app, tenure, continuation, this.follower.position()));
    }

    fn poll_relayed(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.project().relay {
            Some(relay) => relay.as_mut().poll_next(cx),
            None => Poll::Ready(None),
        }
    }

    /// The server is stopping: the deadline moves to this reader's turn.
    fn leave(mut self: Pin<&mut Self>) {
        let this = self.as_mut().project();
        let turn = this.app.leave_at(this.tenure);
        *this.phase = Phase::Leaving;
        *this.deadline = Some(this.deadline.map_or(turn, |deadline| deadline.min(turn)));
        self.set_timer();
    }

    /// The deadline has come. A reader of a stopping server is told when to return.
    fn end(self: Pin<&mut Self>) -> Option<Bytes> {
        let this = self.project();
        let is_leaving = *this.phase == Phase::Leaving;
        *this.phase = Phase::Over;
        is_leaving.then(|| retry_after_stop(this.app.random()))
    }
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_bytes(cx)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    /// At least what is still to be sent, so that memory can be reserved.
    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::default();
        hint.set_lower(self.follower.backlog());
        hint
    }
}

fn next_beat(deadline: Option<Instant>, app: &App) -> Instant {
    let beat = Instant::now() + app.settings().connection.sse_heartbeat();
    deadline.map_or(beat, |deadline| deadline.min(beat))
}

fn log_failure(error: &ReadError) {
    // The client gets the status when it reconnects.
    if !matches!(error, ReadError::Trimmed { .. } | ReadError::OtherLife { .. }) {
        tracing::error!(%error, "a live read ended because the store failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_and_its_box_take_half_a_kibibyte() {
        // The box adds a function that maps errors.
        let size = size_of::<Reader>() + size_of::<fn()>();
        assert!(size <= 512, "{size}");
    }
}
