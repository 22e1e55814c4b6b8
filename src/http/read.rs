//! `GET`: catch-up reads (section 5.6), and the way to the live ones.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{
    App, Problem, caching, content, long_poll,
    query::{Live, ReadQuery},
    respond, sse, stream,
};
use crate::{
    auth::Permit,
    engine::CatchUp,
    protocol::{Kind, ReadFrom, headers},
};

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
) -> (&'static str, Result<Response<Body>, Problem>) {
    let query = match ReadQuery::parse(parts.uri.query()) {
        Ok(query) => query,
        Err(error) => return ("read", Err(error.into())),
    };
    let (operation, mut result) = match query.live {
        None => ("read", catch_up(app, permit, parts, query.from).await),
        Some(Live::LongPoll) => ("long-poll", long_poll::handle(app, permit, parts, query).await),
        Some(Live::Sse) => ("sse", sse::handle(app, permit, parts, query).await),
    };
    if let Ok(response) = &mut result {
        respond::isolate(response.headers_mut());
    }
    (operation, result)
}

async fn catch_up(app: &App, permit: &Permit, parts: &Parts, from: ReadFrom) -> Result<Response<Body>, Problem> {
    let read = app.running()?.read(stream(permit)?, from).await?;
    let tag = caching::tag(read.identity(), read.start, read.end, read.closed);
    let mut response = if from == ReadFrom::Now {
        Response::new(nothing(read.kind()))
    } else if caching::matches(parts.headers.get(header::IF_NONE_MATCH), &tag) {
        respond::empty(StatusCode::NOT_MODIFIED)
    } else {
        Response::new(Body::empty())
    };
    let answer = response.headers_mut();
    if from == ReadFrom::Now {
        answer.insert(header::CACHE_CONTROL, caching::NO_STORE);
    } else {
        let policy = app.settings().caching.of(parts);
        answer.insert(header::ETAG, respond::text(&tag));
        answer.insert(
            header::CACHE_CONTROL,
            if read.end > read.start {
                policy.content(caching::life_left(read.lifetime(), permit))
            } else {
                policy.nothing_yet()
            },
        );
    }
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(read.end));
    if read.up_to_date {
        answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(answer, read.closed);
    if response.status() == StatusCode::OK {
        let content_type = respond::content_type(read.content_type());
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        if from != ReadFrom::Now {
            *response.body_mut() = body(read);
        }
    }
    Ok(response)
}

/// An answer without data.
fn nothing(kind: Kind) -> Body {
    match kind {
        Kind::Json => Body::from("[]"),
        Kind::Text | Kind::Binary => Body::empty(),
    }
}

fn body(read: CatchUp) -> Body {
    if read.end == read.start {
        return nothing(read.kind());
    }
    let (kind, len) = (read.kind(), read.body_len());
    content::pieces(kind, read.pieces, len)
}
