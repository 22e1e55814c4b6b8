//! `GET` with `live=long-poll` (section 5.7).

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use tokio::time::Instant;

use super::{
    App, Problem, caching, content, forward,
    live::{self, LiveSlot},
    phase::Tenure,
    query::{Live, ReadQuery},
    respond, stream,
};
use crate::{
    auth::Permit,
    engine::{Chunk, Event, Follower, ReadError},
    problems,
    protocol::{
        ReadFrom,
        cursor::{self, Cursor},
        headers,
    },
    random::Random,
};

/// An idle poll ends at a random moment between these parts of the timeout, in thousandths:
/// before a proxy with the same timeout cuts it, and not together with the polls that began with
/// it.
const MIN_WAIT: u64 = 850;
const MAX_WAIT: u64 = 970;

/// The end of a poll's wait.
enum Outcome {
    Event(Event),
    /// Its time is over.
    Over,
    /// The server stops, or the client's key was withdrawn: its next request gets the status.
    Idle,
    /// The store has been handed over.
    Moved,
}

/// New content of the stream.
struct Content {
    chunk: Arc<Chunk>,
    up_to_date: bool,
    closed: bool,
}

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
    query: ReadQuery,
) -> Result<Response<Body>, Problem> {
    let _slot = LiveSlot::take(app, permit, parts, Live::LongPoll)?;
    let tenure = app.phase().tenure();
    let mut follower = app.running()?.follow(stream(permit)?, query.from).await?;
    let timeout = app.settings().connection.long_poll_timeout();
    let [end, last_end] = [jittered_wait(timeout, app.random()), timeout]
        .map(|max_wait| live::end(permit, app.clock(), Some(max_wait)).unwrap_or_else(Instant::now));
    let mut outcome = wait(app, permit, &tenure, end, &mut follower).await?;
    if is_behind(&outcome, &follower) {
        // It must not be told that it has everything.
        outcome = wait(app, permit, &tenure, last_end, &mut follower).await?;
        let has_token = || live::end(permit, app.clock(), None).is_none_or(|end| end > Instant::now());
        if is_behind(&outcome, &follower) && has_token() {
            let detail = "the stream has more, which the store does not return at the moment; try again";
            return Err(Problem::new(&problems::STORE_AWAY, detail));
        }
    }
    match outcome {
        Outcome::Event(Event::Chunk {
            chunk,
            up_to_date,
            closed,
        }) => {
            let content = Content {
                chunk,
                up_to_date,
                closed,
            };
            Ok(content_response(app, permit, parts, query, &follower, &content))
        }
        Outcome::Event(Event::HeldBack | Event::Closed) | Outcome::Over | Outcome::Idle => {
            Ok(no_content(app, &follower, query.cursor))
        }
        Outcome::Event(Event::Gone { softly: true }) => Err(ReadError::Gone.into()),
        Outcome::Event(Event::Gone { softly: false }) => Err(ReadError::NotFound.into()),
        // Nothing was read, so the next holder can answer the request, in the time that is left.
        Outcome::Moved => tokio::select! {
            answer = forward::forward(app, parts, Body::empty()) => answer,
            () = tokio::time::sleep_until(end) => Ok(no_content(app, &follower, query.cursor)),
            () = app.turn_to_leave(&tenure) => Ok(no_content(app, &follower, query.cursor)),
        },
    }
}

/// The poll's time is over, and the stream has content that was not read in time.
fn is_behind(outcome: &Outcome, follower: &Follower) -> bool {
    matches!(outcome, Outcome::Over) && !follower.state().up_to_date
}

async fn wait(
    app: &App,
    permit: &Permit,
    tenure: &Tenure,
    end: Instant,
    follower: &mut Follower,
) -> Result<Outcome, ReadError> {
    tokio::select! {
        biased;
        () = live::key_withdrawn(permit) => Ok(Outcome::Idle),
        event = follower.next() => event.map(Outcome::Event),
        () = tokio::time::sleep_until(end) => Ok(Outcome::Over),
        () = tenure.moved.cancelled() => Ok(Outcome::Moved),
        () = app.turn_to_leave(tenure) => Ok(Outcome::Idle),
    }
}

fn jittered_wait(timeout: Duration, random: &Random) -> Duration {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let part = random.between(MIN_WAIT, MAX_WAIT);
    Duration::from_millis(millis.saturating_mul(part) / 1000)
}

fn content_response(
    app: &App,
    permit: &Permit,
    parts: &Parts,
    query: ReadQuery,
    follower: &Follower,
    content: &Content,
) -> Response<Body> {
    let chunk = &content.chunk;
    let tag = caching::tag(follower.identity(), chunk.start, chunk.end, content.closed);
    // The next response to a URL with `offset=now` is another one.
    let is_cacheable = query.from != ReadFrom::Now;
    let mut response = if is_cacheable && caching::matches(&parts.headers, &tag) {
        respond::empty(StatusCode::NOT_MODIFIED)
    } else {
        chunk_response(follower, chunk)
    };
    let set = response.headers_mut();
    set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(chunk.end));
    set_cursor(app, set, query.cursor);
    if content.up_to_date {
        set.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(set, content.closed);
    if is_cacheable {
        let policy = app.caching().of(parts);
        let life_left = || caching::life_left(follower.lifetime(), permit, &app.clocks());
        set.insert(header::ETAG, respond::owned(tag));
        set.insert(header::CACHE_CONTROL, policy.content(life_left));
    } else {
        set.insert(header::CACHE_CONTROL, caching::NO_STORE);
    }
    response
}

fn chunk_response(follower: &Follower, chunk: &Arc<Chunk>) -> Response<Body> {
    let mut response = Response::new(content::chunk(chunk));
    let content_type = respond::content_type(follower.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Nothing new: the wait or the stream is over.
fn no_content(app: &App, follower: &Follower, client_cursor: Option<Cursor>) -> Response<Body> {
    let state = follower.state();
    let mut response = respond::empty(StatusCode::NO_CONTENT);
    let set = response.headers_mut();
    set.insert(header::CACHE_CONTROL, caching::NO_STORE);
    set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(follower.position()));
    // A poll that is cut short may be behind.
    if state.up_to_date {
        set.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    set_cursor(app, set, client_cursor);
    respond::set_closed(set, state.closed);
    response
}

fn set_cursor(app: &App, set: &mut HeaderMap, client_cursor: Option<Cursor>) {
    let random = app.random();
    let cursor = cursor::next(app.clock().millis(), client_cursor, |low, high| {
        random.between(low, high)
    });
    set.insert(headers::STREAM_CURSOR, respond::text(&cursor));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_poll_ends_before_its_timeout() {
        let random = Random::seeded(1);
        let seconds: Vec<f64> = (0..1000)
            .map(|_| jittered_wait(Duration::from_secs(30), &random).as_secs_f64())
            .collect();
        assert!(seconds.iter().all(|seconds| (25.5..=29.1).contains(seconds)));
        assert!(seconds.iter().any(|seconds| *seconds < 26.5) && seconds.iter().any(|seconds| *seconds > 28.1));
    }
}
