//! `GET` with `live=sse` (section 5.8).

mod encode;

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{
    future::poll_immediate,
    stream::{self, Stream},
};
use http::{HeaderName, HeaderValue, Response, header, request::Parts};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{App, Problem, live, query::ReadQuery, respond, stream as stream_of};
use crate::{
    auth::Permit,
    clock,
    engine::{Backlog, Event, Follower, ReadError, ReadState},
    protocol::{Kind, headers},
};
use encode::{Connection, State};

/// How long clients are to wait before they connect again.
const RETRY: Duration = Duration::from_secs(2);

/// A reader who never has to wait looks for an interruption after this many events. Most have to
/// wait after each, and look then.
const EVENTS_IN_A_ROW: u8 = 8;

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
    query: ReadQuery,
) -> Result<Response<Body>, Problem> {
    let place = live::Place::take(app, permit, parts, "sse")?;
    let follower = app.running()?.follow(stream_of(permit)?, query.from).await?;
    let follower = follower.in_whole_characters();
    let kind = follower.kind();
    let (at, ended) = (follower.position(), follower.state().closed);
    let reader = Box::pin(Reader {
        backlog: follower.backlog(),
        follower,
        connection: Connection::new(query.cursor),
        rest: None,
        phase: Phase::Opening,
        is_told: false,
        in_a_row: 0,
        end: live::end(permit, app.settings().connection.sse_reconnect_interval()),
        heartbeat: app.settings().connection.sse_heartbeat(),
        timer: tokio::time::sleep(Duration::ZERO),
        stopping: app.stopping().clone().cancelled_owned(),
        key_withdrawn: live::key_withdrawn(permit),
        _place: place,
    });
    let backlog = reader.backlog.clone();
    let events = stream::unfold(reader, |mut reader| async move {
        let bytes = reader.as_mut().next().await?;
        reader.backlog.note(&reader.follower);
        Some((bytes, reader))
    });
    let mut response = Response::new(Body::new(Events { events, backlog }));
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    answer.insert(header::CACHE_CONTROL, app.caching().of(parts).live());
    answer.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    if ended {
        // Section 8: the headers of a read at the end of a closed stream tell of the end too.
        answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(at));
        answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
        respond::set_closed(answer, true);
    }
    if kind == Kind::Binary {
        answer.insert(headers::STREAM_SSE_DATA_ENCODING, HeaderValue::from_static("base64"));
    }
    Ok(response)
}

pin_project_lite::pin_project! {
    /// One SSE connection. It is only asked for more when its socket takes more, so a slow
    /// reader holds one shared chunk and slows down nobody.
    struct Reader {
        follower: Follower,
        backlog: Backlog,
        connection: Connection,
        // The control event that belongs to the data just sent.
        rest: Option<Bytes>,
        phase: Phase,
        // The last control event said that the reader is up to date.
        is_told: bool,
        // Events since the last look for an interruption.
        in_a_row: u8,
        end: Option<Instant>,
        heartbeat: Duration,
        #[pin]
        timer: Sleep,
        #[pin]
        stopping: WaitForCancellationFutureOwned,
        #[pin]
        key_withdrawn: WaitForCancellationFutureOwned,
        _place: live::Place,
    }
}

pin_project_lite::pin_project! {
    /// A body that tells how much it has at least still to send, so that room can be reserved.
    struct Events<S> {
        #[pin]
        events: S,
        backlog: Backlog,
    }
}

impl<S: Stream<Item = Bytes>> http_body::Body for Events<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let events = self.project().events.poll_next(cx);
        events.map(|events| events.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::default();
        hint.set_lower(self.backlog.bytes());
        hint
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent yet.
    Opening,
    /// Events follow.
    Open,
    /// Nothing follows.
    Over,
}

/// What ends a wait for events.
enum Interruption {
    Stopping,
    KeyWithdrawn,
    Timer,
}

impl Reader {
    /// The next bytes to send; `None` at the end.
    async fn next(self: std::pin::Pin<&mut Self>) -> Option<Bytes> {
        let mut this = self.project();
        if let Some(rest) = this.rest.take() {
            return Some(rest);
        }
        match this.phase {
            Phase::Over => return None,
            Phase::Opening => {
                *this.phase = Phase::Open;
                this.timer.as_mut().reset(next_wake(*this.end, *this.heartbeat));
                let ReadState {
                    up_to_date: caught_up,
                    closed,
                } = this.follower.state();
                if closed {
                    *this.phase = Phase::Over;
                }
                *this.is_told = caught_up;
                let retry = encode::retry(clock::jittered(RETRY));
                return Some(if caught_up {
                    let state = if closed { State::Closed } else { State::UpToDate };
                    encode::opening(retry, this.follower.position(), this.connection.cursor(), state)
                } else {
                    retry.into()
                });
            }
            Phase::Open => {}
        }
        // A stream that always has more must not outlive the token.
        if this.end.is_some_and(|end| end <= Instant::now()) {
            return None;
        }
        *this.in_a_row += 1;
        let next = {
            let mut interruption = pin!(async {
                tokio::select! {
                    biased;
                    () = &mut this.stopping => Interruption::Stopping,
                    () = &mut this.key_withdrawn => Interruption::KeyWithdrawn,
                    () = &mut this.timer => Interruption::Timer,
                }
            });
            let mut early = None;
            if *this.in_a_row > EVENTS_IN_A_ROW {
                *this.in_a_row = 0;
                early = poll_immediate(&mut interruption).await;
            }
            match early {
                Some(interruption) => Err(interruption),
                None => tokio::select! {
                    biased;
                    event = next_event(this.follower, *this.is_told) => Ok(event),
                    interruption = &mut interruption => Err(interruption),
                },
            }
        };
        match next {
            Ok(event) => match event {
                Ok(Event::Chunk {
                    chunk,
                    up_to_date,
                    closed,
                }) => {
                    let state = match (closed, up_to_date) {
                        (true, _) => State::Closed,
                        (false, true) => State::UpToDate,
                        (false, false) => State::Behind,
                    };
                    if closed {
                        *this.phase = Phase::Over;
                    }
                    *this.is_told = up_to_date;
                    let (events, rest) = this.connection.encode(&chunk, state);
                    *this.rest = rest;
                    Some(events)
                }
                Ok(Event::HeldBack) => {
                    *this.is_told = true;
                    Some(encode::control(this.follower.position(), this.connection.cursor(), State::UpToDate).into())
                }
                Ok(Event::Closed) => {
                    *this.phase = Phase::Over;
                    Some(encode::control(this.follower.position(), this.connection.cursor(), State::Closed).into())
                }
                // Who comes back is told with a status what is gone.
                Ok(Event::Gone { .. }) | Err(ReadError::Trimmed { .. }) => None,
                Err(error) => {
                    tracing::error!(%error, "a live read ended because the store failed");
                    None
                }
            },
            Err(Interruption::Stopping) => {
                *this.phase = Phase::Over;
                Some(encode::retry(clock::jittered(RETRY)).into())
            }
            // A client that comes back is told with a status.
            Err(Interruption::KeyWithdrawn) => None,
            Err(Interruption::Timer) => {
                if this.end.is_some_and(|end| end <= Instant::now()) {
                    return None;
                }
                this.timer.as_mut().reset(next_wake(*this.end, *this.heartbeat));
                Some(Bytes::from_static(encode::HEARTBEAT))
            }
        }
    }
}

/// The next event. A reader who was told that it is up to date is not told again when an append is
/// held back from it.
async fn next_event(follower: &mut Follower, is_told: bool) -> Result<Event, ReadError> {
    loop {
        match follower.next().await {
            Ok(Event::HeldBack) if is_told => {}
            event => return event,
        }
    }
}

/// Events do not reset the timer: a heartbeat right after one does no harm.
fn next_wake(end: Option<Instant>, heartbeat: Duration) -> Instant {
    let beat = Instant::now() + heartbeat;
    end.map_or(beat, |end| end.min(beat))
}
