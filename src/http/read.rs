//! `GET`: catch-up reads (section 5.6), and the dispatch to live reads.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header, request::Parts};

use super::{
    Answer, App, Problem, caching, content, long_poll,
    query::{Form, Live, ReadQuery},
    respond, sse, stored, stream,
};
use crate::{
    auth::Permit,
    engine::CatchUp,
    protocol::{Kind, ReadFrom, headers},
};

/// Capacity for a response's headers, so that the map need not grow.
const USUAL_HEADERS: usize = 12;

pub(super) async fn handle(app: &App, permit: &Permit, parts: &Parts) -> Answer {
    let label = permit.route().label;
    let query = match ReadQuery::parse(parts.uri.query()) {
        Ok(query) => query,
        Err(error) => return Answer::refused(label, error),
    };
    let mut result = match (query.form, query.live) {
        (Form::Stored { until }, _) => Box::pin(stored::handle(app, permit, query, until)).await,
        (Form::Protocol, None) => catch_up(app, permit, parts, query.from).await,
        (Form::Protocol, Some(Live::LongPoll)) => Box::pin(long_poll::handle(app, permit, parts, query)).await,
        (Form::Protocol, Some(Live::Sse)) => sse::handle(app, permit, parts, query).await,
    };
    if let Ok(response) = &mut result {
        respond::isolate(response.headers_mut());
    }
    let label = match (query.form, query.live) {
        (Form::Protocol, Some(live)) => live.name(),
        _ => label,
    };
    Answer::new(label, result)
}

async fn catch_up(app: &App, permit: &Permit, parts: &Parts, from: ReadFrom) -> Result<Response<Body>, Problem> {
    let read = app.running()?.read(stream(permit)?, from).await?;
    let mut set = HeaderMap::with_capacity(USUAL_HEADERS);
    set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(read.end));
    if read.up_to_date {
        set.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(&mut set, read.closed);
    let mut unchanged = false;
    if from == ReadFrom::Now {
        set.insert(header::CACHE_CONTROL, caching::NO_STORE);
    } else {
        let tag = caching::tag(read.identity(), read.start, read.end, read.closed);
        unchanged = caching::matches(&parts.headers, &tag);
        set.insert(header::ETAG, respond::owned(tag));
        set.insert(header::CACHE_CONTROL, cache_control(app, permit, parts, &read));
    }
    let mut response = if unchanged {
        respond::empty(StatusCode::NOT_MODIFIED)
    } else {
        set.insert(header::CONTENT_TYPE, respond::content_type(read.content_type()));
        Response::new(body(parts, read).await?)
    };
    *response.headers_mut() = set;
    Ok(response)
}

fn cache_control(app: &App, permit: &Permit, parts: &Parts, read: &CatchUp) -> HeaderValue {
    let policy = app.caching().of(parts);
    if read.end.position > read.start.position {
        policy.content(|| caching::life_left(read.lifetime(), permit, &app.clocks()))
    } else {
        policy.revalidated()
    }
}

/// The body of a response. Its length is announced to an HTTP/1.0 client, which could not tell a
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
