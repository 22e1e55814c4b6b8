//! The responses that the listener sends by itself, without the application.

use std::sync::LazyLock;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use crate::problems::{self, ProblemKind, Retry, document};

/// How long clients are told to wait, in seconds.
const RETRY_AFTER: &str = "2";

/// Shared by all its responses: it is sent when there is no memory for more.
static OVERLOADED: LazyLock<String> = LazyLock::new(|| {
    let detail = "the memory for responses is used up; try again later";
    document(&problems::OVERLOADED, detail, None, None)
});

/// On every response (protocol section 12.7).
const SECURITY: [(&str, &str); 2] = [
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "cross-origin"),
];

/// A refusal that ends its connection.
pub(super) fn refusal(kind: &ProblemKind, detail: &str) -> Response<Body> {
    let mut response = problem_response(kind, Body::from(document(kind, detail, None, None)));
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// 503 in place of a response for which there is no memory. Keeps the CORS headers.
pub(super) fn overloaded(refused: &HeaderMap) -> Response<Body> {
    let document = Bytes::from_static(OVERLOADED.as_bytes());
    let mut response = problem_response(&problems::OVERLOADED, Body::from(document));
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    for (name, value) in refused {
        if name == header::VARY || name.as_str().starts_with("access-control-") {
            headers.append(name, value.clone());
        }
    }
    response
}

fn problem_response(kind: &ProblemKind, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = kind.status;
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(problems::CONTENT_TYPE);
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in SECURITY {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// A refusal as bytes for a connection on which no HTTP is parsed.
pub(super) fn raw_refusal(kind: &ProblemKind, detail: &str) -> Vec<u8> {
    let document = document(kind, detail, None, None);
    let mut head = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\ncache-control: no-store\r\n",
        kind.status.as_u16(),
        kind.title(),
        problems::CONTENT_TYPE,
        document.len(),
    );
    if kind.retry == Retry::AfterDelay {
        // The request is not parsed, so its origin is unknown; the response holds no secret.
        head.push_str(&format!(
            "retry-after: {RETRY_AFTER}\r\naccess-control-allow-origin: *\r\n"
        ));
    }
    for (name, value) in SECURITY {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}connection: close\r\n\r\n{document}").into_bytes()
}
