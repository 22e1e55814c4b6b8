//! The few answers that this layer gives itself.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

const PROBLEM: &str = "application/problem+json";

/// How long clients that are refused for want of room are told to wait, in seconds.
const RETRY_AFTER: &str = "2";

/// The answer to a request for whose response there is no memory. Costs none itself.
const OVERLOADED: &str = r#"{"type":"urn:durable-streams:problem:overloaded","title":"Service Unavailable","status":503,"detail":"too many responses have not been taken by their clients; try again"}"#;

/// On every answer (protocol section 12.7).
const SECURITY: [(&str, &str); 2] = [
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "cross-origin"),
];

/// An answer in the form of RFC 9457 that ends its connection. `title` and `detail` are our
/// own words and need no escaping.
pub(super) fn refusal(status: StatusCode, title: &str, detail: &str) -> Response<Body> {
    let mut response = answer(status, Body::from(problem(status, title, detail)));
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// 503 instead of a response that there is no room for. Keeps its CORS headers.
pub(super) fn overloaded(refused: &HeaderMap) -> Response<Body> {
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, Body::from(OVERLOADED));
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    for (name, value) in refused {
        if name == header::VARY || name.as_str().starts_with("access-control-") {
            headers.append(name, value.clone());
        }
    }
    response
}

fn answer(status: StatusCode, body: Body) -> Response<Body> {
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

/// A refusal as it goes over the wire, for where no HTTP is spoken.
pub(super) fn raw_refusal(status: StatusCode, title: &str, detail: &str) -> Vec<u8> {
    let text = problem(status, title, detail);
    let mut head = format!(
        "HTTP/1.1 {} {title}\r\ncontent-type: {PROBLEM}\r\ncontent-length: {}\r\ncache-control: no-store\r\n",
        status.as_u16(),
        text.len(),
    );
    if status == StatusCode::TOO_MANY_REQUESTS {
        // The request is not read, so its origin is unknown; there is nothing to be learnt here.
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
