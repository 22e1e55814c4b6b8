//! `GET` with `live=long-poll` (section 5.7).

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

use super::{App, Problem, caching, content, live, query::ReadQuery, respond, stream};
use crate::{
    auth::Permit,
    clock,
    engine::{Chunk, Event, Follower, ReadError},
    protocol::{
        ReadFrom,
        cursor::{self, Cursor},
        headers,
    },
};

/// An idle poll ends at a random moment between these parts of the timeout, in thousandths: in
/// time for a proxy whose timeout is the same, and not together with the others that began with it.
const SHORTEST: u64 = 850;
const LONGEST: u64 = 970;

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
    query: ReadQuery,
) -> Result<Response<Body>, Problem> {
    let _place = live::Place::take(app, permit, parts, "long-poll")?;
    let mut follower = app.running()?.follow(stream(permit)?, query.from).await?;
    let end =
        live::end(permit, Some(patience(app.settings().connection.long_poll_timeout()))).unwrap_or_else(Instant::now);
    let event = tokio::select! {
        biased;
        // The client is told with a status when it asks again.
        () = live::key_withdrawn(permit) => return Ok(nothing(&follower, query.cursor)),
        event = follower.next() => event?,
        () = tokio::time::sleep_until(end) => return Ok(nothing(&follower, query.cursor)),
        () = app.stopping().cancelled() => {
            return Err(Problem::come_back("stopping", "the server is stopping; read on from the same offset"));
        }
    };
    match event {
        Event::Chunk {
            chunk,
            up_to_date,
            closed,
        } => {
            let tag = caching::tag(follower.identity(), chunk.start, chunk.end, closed);
            let unchanged = query.from != ReadFrom::Now && caching::matches(&parts.headers, &tag);
            let mut response = if unchanged {
                respond::empty(StatusCode::NOT_MODIFIED)
            } else {
                some(&follower, &chunk)
            };
            let answer = response.headers_mut();
            describe(answer, &chunk, query.cursor, up_to_date, closed);
            if query.from == ReadFrom::Now {
                // The next answer to this URL is another one.
                answer.insert(header::CACHE_CONTROL, caching::NO_STORE);
            } else {
                let policy = app.caching().of(parts);
                answer.insert(header::ETAG, respond::text(&tag));
                answer.insert(
                    header::CACHE_CONTROL,
                    policy.content(|| caching::life_left(follower.lifetime(), permit)),
                );
            }
            Ok(response)
        }
        Event::HeldBack | Event::Closed => Ok(nothing(&follower, query.cursor)),
        Event::Gone { softly: true } => Err(ReadError::Gone.into()),
        Event::Gone { softly: false } => Err(ReadError::NotFound.into()),
    }
}

fn patience(timeout: Duration) -> Duration {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let part = clock::random_between(SHORTEST, LONGEST);
    Duration::from_millis(millis.saturating_mul(part) / 1000)
}

fn some(follower: &Follower, chunk: &Arc<Chunk>) -> Response<Body> {
    let mut response = Response::new(content::chunk(chunk));
    let content_type = respond::content_type(follower.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn describe(answer: &mut HeaderMap, chunk: &Chunk, client_cursor: Option<Cursor>, up_to_date: bool, closed: bool) {
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(chunk.end));
    answer.insert(
        headers::STREAM_CURSOR,
        respond::text(&cursor::next(clock::now_millis(), client_cursor)),
    );
    if up_to_date {
        answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(answer, closed);
}

/// The time is over, or the stream is.
fn nothing(follower: &Follower, client_cursor: Option<Cursor>) -> Response<Body> {
    let closed = follower.state().closed;
    let mut response = respond::empty(StatusCode::NO_CONTENT);
    let answer = response.headers_mut();
    answer.insert(header::CACHE_CONTROL, caching::NO_STORE);
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(follower.position()));
    answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    answer.insert(
        headers::STREAM_CURSOR,
        respond::text(&cursor::next(clock::now_millis(), client_cursor)),
    );
    respond::set_closed(answer, closed);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_poll_ends_before_its_timeout() {
        let seconds: Vec<f64> = (0..1000)
            .map(|_| patience(Duration::from_secs(30)).as_secs_f64())
            .collect();
        assert!(seconds.iter().all(|seconds| (25.5..=29.1).contains(seconds)));
        assert!(seconds.iter().any(|seconds| *seconds < 26.5) && seconds.iter().any(|seconds| *seconds > 28.1));
    }
}
