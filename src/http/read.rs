//! `GET`: catch-up reads (section 5.6), and the way to the live ones.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};

use super::{
    App, Problem, caching, long_poll,
    query::{Live, ReadQuery},
    respond, sse, stored, stream,
};
use crate::{
    auth::Permit,
    engine::Slice,
    protocol::{Kind, ReadFrom, headers},
};

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
) -> (&'static str, Result<Response<Body>, Problem>) {
    match stored::asked_for(parts.uri.query()) {
        Ok(None) => {}
        Ok(Some(until)) => return ("read", stored::handle(app, permit, parts, until).await),
        Err(error) => return ("read", Err(error.into())),
    }
    let query = match ReadQuery::parse(parts.uri.query()) {
        Ok(query) => query,
        Err(error) => return ("read", Err(error.into())),
    };
    match query.live {
        None => ("read", catch_up(app, permit, parts, query.from).await),
        Some(Live::LongPoll) => ("long-poll", long_poll::handle(app, permit, query).await),
        Some(Live::Sse) => ("sse", sse::handle(app, permit, query).await),
    }
}

async fn catch_up(app: &App, permit: &Permit, parts: &Parts, from: ReadFrom) -> Result<Response<Body>, Problem> {
    let slice = app.running()?.read(stream(permit)?, from).await?;
    if from == ReadFrom::Now {
        let nothing = if slice.kind == Kind::Json {
            Body::from("[]")
        } else {
            Body::empty()
        };
        let mut response = Response::new(nothing);
        let answer = response.headers_mut();
        answer.insert(header::CONTENT_TYPE, respond::content_type(&slice.content_type));
        answer.insert(header::CACHE_CONTROL, caching::NO_STORE);
        describe(answer, &slice);
        return Ok(response);
    }
    let tag = caching::etag(&slice);
    let unchanged = caching::matches(parts.headers.get(header::IF_NONE_MATCH), &tag);
    let mut response = if unchanged {
        respond::empty(StatusCode::NOT_MODIFIED)
    } else {
        Response::new(content(&slice))
    };
    let answer = response.headers_mut();
    if !unchanged {
        answer.insert(header::CONTENT_TYPE, respond::content_type(&slice.content_type));
    }
    answer.insert(header::ETAG, respond::text(&tag));
    let caching = app.settings().caching;
    answer.insert(
        header::CACHE_CONTROL,
        if slice.end > slice.start {
            caching.content()
        } else {
            caching.nothing_yet()
        },
    );
    describe(answer, &slice);
    Ok(response)
}

fn content(slice: &Slice) -> Body {
    slice
        .chunk
        .as_ref()
        .map_or_else(Body::empty, |chunk| Body::from(chunk.body()))
}

/// What a part of a stream means for the next read.
pub(super) fn describe(answer: &mut HeaderMap, slice: &Slice) {
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(slice.end));
    if slice.up_to_date {
        answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(answer, slice.closed);
}
