//! `GET`: catch-up reads (section 5.6), and the way to the live ones.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header, request::Parts};

use super::{
    App, Problem, caching, content, long_poll,
    query::{Live, ReadQuery},
    respond, sse, stored, stream,
};
use crate::{
    auth::Permit,
    engine::CatchUp,
    protocol::{Kind, ReadFrom, headers},
};

/// Room for the headers of an answer, so that it need not grow.
const USUAL_HEADERS: usize = 12;

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
) -> (&'static str, Result<Response<Body>, Problem>) {
    let (operation, mut result) = answer(app, permit, parts).await;
    if let Ok(response) = &mut result {
        respond::isolate(response.headers_mut());
    }
    (operation, result)
}

async fn answer(app: &App, permit: &Permit, parts: &Parts) -> (&'static str, Result<Response<Body>, Problem>) {
    let query = match ReadQuery::parse(parts.uri.query()) {
        Ok(query) => query,
        Err(error) => return ("read", Err(error.into())),
    };
    if let Some(until) = query.stored {
        return ("read", stored::handle(app, permit, query, until).await);
    }
    match query.live {
        None => ("read", catch_up(app, permit, parts, query.from).await),
        Some(Live::LongPoll) => ("long-poll", long_poll::handle(app, permit, parts, query).await),
        Some(Live::Sse) => ("sse", sse::handle(app, permit, parts, query).await),
    }
}

async fn catch_up(app: &App, permit: &Permit, parts: &Parts, from: ReadFrom) -> Result<Response<Body>, Problem> {
    let read = app.running()?.read(stream(permit)?, from).await?;
    let mut answer = HeaderMap::with_capacity(USUAL_HEADERS);
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(read.end));
    if read.up_to_date {
        answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(&mut answer, read.closed);
    let mut unchanged = false;
    if from == ReadFrom::Now {
        answer.insert(header::CACHE_CONTROL, caching::NO_STORE);
    } else {
        let tag = caching::tag(read.identity(), read.start, read.end, read.closed);
        unchanged = caching::matches(&parts.headers, &tag);
        answer.insert(header::ETAG, respond::owned(tag));
        answer.insert(header::CACHE_CONTROL, cache_control(app, permit, parts, &read));
    }
    let mut response = if unchanged {
        respond::empty(StatusCode::NOT_MODIFIED)
    } else {
        answer.insert(header::CONTENT_TYPE, respond::content_type(read.content_type()));
        Response::new(body(parts, read).await?)
    };
    *response.headers_mut() = answer;
    Ok(response)
}

fn cache_control(app: &App, permit: &Permit, parts: &Parts, read: &CatchUp) -> HeaderValue {
    let policy = app.caching().of(parts);
    if read.end.position > read.start.position {
        policy.content(|| caching::life_left(read.lifetime(), permit))
    } else {
        policy.nothing_yet()
    }
}

/// The body of an answer. Its length is announced to an HTTP/1.0 client, which could not tell a
/// broken connection from the end otherwise.
async fn body(parts: &Parts, read: CatchUp) -> Result<Body, Problem> {
    let len = match read.body_len() {
        None if parts.version == Version::HTTP_10 => Some(read.measure().await?),
        len => len,
    };
    Ok(match (read.kind(), len) {
        (Kind::Json, Some(0)) => Body::from("[]"),
        (Kind::Text | Kind::Binary, Some(0)) => Body::empty(),
        (kind, len) => content::pieces(kind, read.pieces, len),
    })
}
