//! Parts of responses.

use std::fmt::Write;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::protocol::{Offset, content_type::DEFAULT, headers::STREAM_CLOSED};

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const ISOLATED: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// A response without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

pub(super) fn offset(at: Offset) -> HeaderValue {
    // A string without spare capacity becomes a value as it is.
    let mut text = String::with_capacity(Offset::TEXT_BYTES);
    let _ = write!(text, "{at}");
    owned(text)
}

pub(super) fn number(value: u64) -> HeaderValue {
    HeaderValue::from(value)
}

/// The value's text, which must be visible ASCII.
pub(super) fn text(value: &impl std::fmt::Display) -> HeaderValue {
    let mut text = String::with_capacity(48);
    let _ = write!(text, "{value}");
    owned(text)
}

/// The same for a string.
pub(super) fn owned(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A stream's content type. Creation refuses one that cannot be sent.
pub(super) fn content_type(value: &str) -> HeaderValue {
    HeaderValue::try_from(value).unwrap_or_else(|_| HeaderValue::from_static(DEFAULT))
}

/// Sets `Stream-Closed: true` for a closed stream.
pub(super) fn set_closed(headers: &mut HeaderMap, closed: bool) {
    if closed {
        headers.insert(STREAM_CLOSED, HeaderValue::from_static("true"));
    }
}

/// For a stream's content, which is untrusted: a browser that opens its URL runs no script in it
/// and does not leak the URL, which may hold a token, as a referrer.
pub(super) fn isolate(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, ISOLATED);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// The browser security headers of section 12.7, on every response.
pub(super) fn secure(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}

/// With tokens, a browser's own cache must not show one user what another was shown.
pub(super) fn vary(is_open: bool) -> HeaderValue {
    HeaderValue::from_static(if is_open { "Origin" } else { "Authorization, Origin" })
}
