//! `GET` with `form=stored`: a stream in the form in which it is stored, for `export`. The protocol
//! has no such form; it keeps appends apart, which a read does not.

use axum::body::Body;
use http::{HeaderValue, Response, header, request::Parts};

use super::{
    App, Problem, caching,
    query::{ReadQuery, set},
    respond, stream,
};
use crate::{
    auth::Permit,
    protocol::{BadInput, Offset, frame, headers},
};

/// Whether a query asks for this form; up to which offset, if it says so.
///
/// # Errors
/// An `until` that is no offset.
pub(super) fn asked_for(query: Option<&str>) -> Result<Option<Option<Offset>>, BadInput> {
    let (mut form, mut until) = (None, None);
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "form" => set(&mut form, "form", value)?,
            "until" => set(&mut until, "until", value)?,
            _ => {}
        }
    }
    if form.as_deref() != Some("stored") {
        return Ok(None);
    }
    let until = until.map(|until| Offset::parse("until", &until));
    Ok(Some(until.transpose()?))
}

pub(super) async fn handle(
    app: &App,
    permit: &Permit,
    parts: &Parts,
    until: Option<Offset>,
) -> Result<Response<Body>, Problem> {
    let query = ReadQuery::parse(parts.uri.query())?;
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
