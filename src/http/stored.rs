//! `GET` with `form=stored`: a stream in the form in which it is stored, for `export`. The protocol
//! has no such form; it keeps appends apart, which a read does not.

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
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
    answer.insert(header::CACHE_CONTROL, caching::NO_STORE);
    answer.insert(headers::STREAM_NEXT_OFFSET, respond::offset(part.end));
    if part.is_last {
        answer.insert(headers::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
    }
    respond::set_closed(answer, part.closed);
    Ok(response)
}
