//! Responses by the listener itself.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

const PROBLEM: &str = "application/problem+json";

/// In seconds.
const RETRY_AFTER: &str = "2";

/// For a request without memory for its response. Static, so that it needs none itself.
const OVERLOADED: &str = r#"{"type":"urn:durable-streams:problem:overloaded","title":"Service Unavailable","status":503,"detail":"the memory for responses is used up; try again later"}"#;

/// On every response (protocol section 12.7).
const SECURITY: [(&str, &str); 2] = [
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "cross-origin"),
];

/// A response in the form of RFC 9457 that closes its connection. `title` and `detail` are
/// constants that need no escaping.
pub(super) fn refusal(status: StatusCode, title: &str, detail: &str) -> Response<Body> {
    let mut response = problem_response(status, Body::from(problem(status, title, detail)));
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// A 503 in place of a response without room. Keeps the CORS headers.
pub(super) fn overloaded(refused: &HeaderMap) -> Response<Body> {
    let mut response = problem_response(StatusCode::SERVICE_UNAVAILABLE, Body::from(OVERLOADED));
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    for (name, value) in refused {
        if name == header::VARY || name.as_str().starts_with("access-control-") {
            headers.append(name, value.clone());
        }
    }
    response
}

fn problem_response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in SECURITY {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// A refusal as bytes, for connections whose requests are not parsed.
pub(super) fn raw_refusal(status: StatusCode, title: &str, detail: &str) -> Vec<u8> {
    let text = problem(status, title, detail);
    let mut head = format!(
        "HTTP/1.1 {} {title}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {}\r\ncache-control: no-store\r\n",
        status.as_u16(),
        text.len(),
    );
    if status == StatusCode::TOO_MANY_REQUESTS {
        // The request is not parsed, so its origin is unknown; the response holds no secret.
        head.push_str(&format!(
            "retry-after: {RETRY_AFTER}\r\naccess-control-allow-origin: *\r\n"
        ));
    }
    for (name, value) in SECURITY {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{head}connection: close\r\n\r\n{text}").into_bytes()
}

fn problem(status: StatusCode, title: &str, detail: &str) -> String {
    format!(
        r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{detail}"}}"#,
        status.as_u16()
    )
}
