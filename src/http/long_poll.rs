//! `GET` with `live=long-poll` (section 5.7).

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use tokio::time::Instant;

use super::{App, Problem, caching, live, query::ReadQuery, respond, stream};
use crate::{
    auth::Permit,
    clock,
    engine::{Chunk, Event, Follower, ReadError},
    protocol::{ReadFrom, cursor, headers},
};

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
    query: ReadQuery,
) -> Result<Response<Body>, Problem> {
    let _place = live::Place::take(app, permit, parts, "long-poll")?;
    let mut follower = app.running()?.follow(stream(permit)?, query.from).await?;
    let end = live::end(permit, Some(app.settings().long_poll_timeout)).unwrap_or_else(Instant::now);
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
            let mut response = some(&follower, &chunk, query.cursor, up_to_date, closed);
            let answer = response.headers_mut();
            if query.from == ReadFrom::Now {
                // What comes after now is something else the next time.
                answer.insert(header::CACHE_CONTROL, caching::NO_STORE);
            } else {
                let tag = caching::tag(follower.identity(), chunk.start, chunk.end, closed);
                answer.insert(header::ETAG, respond::text(&tag));
                answer.insert(header::CACHE_CONTROL, app.settings().caching.content());
            }
            Ok(response)
        }
        Event::Closed => Ok(nothing(&follower, query.cursor)),
        Event::Gone { softly: true } => Err(ReadError::Gone.into()),
        Event::Gone { softly: false } => Err(ReadError::NotFound.into()),
    }
}

fn some(
    follower: &Follower,
    chunk: &Chunk,
    client_cursor: Option<u64>,
    up_to_date: bool,
    closed: bool,
) -> Response<Body> {
    let mut response = Response::new(Body::from(chunk.body()));
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, respond::content_type(follower.content_type()));
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(chunk.end));
    answer.insert(
        headers::STREAM_CURSOR,
        respond::number(cursor::next(clock::now_millis(), client_cursor)),
    );
    if up_to_date {
        answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(answer, closed);
    response
}

/// The time is over, or the stream is.
fn nothing(follower: &Follower, client_cursor: Option<u64>) -> Response<Body> {
    let (_, closed) = follower.caught_up();
    let mut response = respond::empty(StatusCode::NO_CONTENT);
    let answer = response.headers_mut();
    answer.insert(header::CACHE_CONTROL, caching::NO_STORE);
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(follower.position()));
    answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    answer.insert(
        headers::STREAM_CURSOR,
        respond::number(cursor::next(clock::now_millis(), client_cursor)),
    );
    respond::set_closed(answer, closed);
    response
}
