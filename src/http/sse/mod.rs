//! `GET` with `live=sse` (section 5.8): the response and its body.

mod encode;
mod interruptions;
mod reader;
mod relay;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header, request::Parts};

use super::{
    App, Problem, forward,
    live::LiveSlot,
    query::{Live, ReadQuery},
    respond, stream as stream_of,
};
use crate::{
    auth::Permit,
    engine::Follower,
    protocol::{Kind, headers},
};
use reader::Reader;
pub(super) use relay::retry_after_stop;

/// Keeps nginx from buffering the response.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("text/event-stream");

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
    query: ReadQuery,
) -> Result<Response<Body>, Problem> {
    let slot = LiveSlot::take(app, permit, parts, Live::Sse)?;
    let tenure = app.phase().tenure();
    let follower = app.running()?.follow(stream_of(permit)?, query.from).await?;
    let follower = follower.in_whole_characters();
    let headers = headers(app, parts, &follower);
    let reader = Reader::new(
        app,
        permit,
        query.cursor,
        tenure,
        follower,
        slot,
        forward::Continuation::of(app, parts),
    );
    let mut response = Response::new(Body::new(reader));
    *response.headers_mut() = headers;
    Ok(response)
}

fn headers(app: &App, parts: &Parts, follower: &Follower) -> HeaderMap {
    let mut set = HeaderMap::new();
    set.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    set.insert(header::CACHE_CONTROL, app.caching().of(parts).live());
    set.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    if follower.state().closed {
        // Section 8: a read at the end of a closed stream has the end in its headers too.
        set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(follower.position()));
        set.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
        respond::set_closed(&mut set, true);
    }
    if follower.kind() == Kind::Binary {
        set.insert(headers::STREAM_SSE_DATA_ENCODING, HeaderValue::from_static("base64"));
    }
    set
}
