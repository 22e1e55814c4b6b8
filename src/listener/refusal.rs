//! The few answers that this layer gives itself.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

const PROBLEM: &str = "application/problem+json";

/// An answer in the form of RFC 9457 that ends its connection. `title` and `detail` are our
/// own words and need no escaping.
pub(super) fn refusal(status: StatusCode, title: &str, detail: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(problem(status, title, detail)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The same as it goes over the wire, for where no HTTP is spoken.
pub(super) fn raw_refusal(status: StatusCode, title: &str, detail: &str) -> Vec<u8> {
    let text = problem(status, title, detail);
    format!(
        "HTTP/1.1 {} {title}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{text}",
        status.as_u16(),
        text.len(),
    )
    .into_bytes()
}

fn problem(status: StatusCode, title: &str, detail: &str) -> String {
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{detail}"}}"#,
        status.as_u16()
    )
}
