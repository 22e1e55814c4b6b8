//! Pieces of answers.

use std::fmt::Write;

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::protocol::{Offset, headers};

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An offset.
pub(super) fn offset(at: Offset) -> HeaderValue {
    text(&at)
}

/// A number.
pub(super) fn number(value: u64) -> HeaderValue {
    HeaderValue::from(value)
}

/// Anything that displays as visible ASCII; what does not is left out.
pub(super) fn text(value: &impl std::fmt::Display) -> HeaderValue {
    let mut text = String::with_capacity(48);
    let _ = write!(text, "{value}");
    owned(text)
}

/// The same for text that is there already.
pub(super) fn owned(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A stream's content type. What was accepted at creation can be sent.
pub(super) fn content_type(value: &str) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(crate::protocol::content_type::DEFAULT))
}

/// `Stream-Closed: true`, if it is.
pub(super) fn set_closed(headers: &mut HeaderMap, closed: bool) {
    if closed {
        headers.insert(headers::STREAM_CLOSED, HeaderValue::from_static("true"));
    }
}

/// For a stream's content, which others wrote: a browser that is sent to its URL shows it
/// without running anything of it, and names the URL, which may hold a token, to nobody.
pub(super) fn isolate(headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// The browser security headers of section 12.7, on every answer.
pub(super) fn secure(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = http::HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(policy, HeaderValue::from_static("cross-origin"));
}
