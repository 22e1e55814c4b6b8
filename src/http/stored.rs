//! `GET` with `form=stored`: a stream in its stored form, for `export`. It is not part of the
//! protocol; unlike a read, it preserves the boundaries of appends.

use axum::body::Body;
use http::{HeaderValue, Response, header};

use super::{App, Problem, caching, query::ReadQuery, respond, stream};
use crate::{
    auth::Permit,
    protocol::{BadInput, Offset, frame, headers},
};

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    query: ReadQuery,
    until: Option<Offset>,
) -> Result<Response<Body>, Problem> {
    if query.live.is_some() {
        return Err(BadInput::new("form", "cannot be combined with live").into());
    }
    let part = app.running()?.read_stored(stream(permit)?, query.from, until).await?;
    let form = if part.framing.is_framed() {
        frame::STORED_APPENDS
    } else {
        frame::STORED
    };
    let mut response = Response::new(Body::from(part.run));
    let set = response.headers_mut();
    set.insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
    set.insert(header::CACHE_CONTROL, caching::NO_STORE);
    set.insert(headers::STREAM_NEXT_OFFSET, respond::offset(part.end));
    if part.is_last {
        set.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(set, part.closed);
    Ok(response)
}
