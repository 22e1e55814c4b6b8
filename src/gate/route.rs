use http::{HeaderMap, Method, header::CONTENT_LENGTH};

use crate::{
    auth::Operation,
    protocol::{NameError, StreamName, headers::closes, name::RESERVED_SEGMENT},
};

/// What a request's head asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Preflight, `/up`, `/healthz`, `/readyz`, `__ds/jwks.json`: for everybody.
    Public,
    /// A subscription's callback, ack or release, which carry the protocol's own tokens.
    OwnToken,
    /// `/metrics`
    Metrics,
    /// `__ds/streams`, the list of streams.
    List,
    /// The rest of the subscription API.
    Subscriptions,
    /// An operation on the stream of this name, if it is one.
    Stream(Operation, Result<StreamName, NameError>),
    /// Nothing that this server has.
    Unknown,
}

/// Reads a request's head. `base` is `http.stream_base_path` without a slash at its end.
///
/// Paths are compared as they were sent: an encoded spelling of a public path is not public.
#[must_use]
pub fn route(method: &Method, path: &str, base: &str, headers: &HeaderMap) -> Route {
    if method == Method::OPTIONS {
        return Route::Public;
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let Some(below) = path
        .strip_prefix(base)
        .and_then(|rest| rest.strip_prefix('/').or(rest.is_empty().then_some("")))
        // A base of `/` must not hide the paths of the server itself.
        .filter(|_| !is_server_path(path))
    else {
        return match path {
            "/up" | "/healthz" | "/readyz" if reads => Route::Public,
            "/metrics" if reads => Route::Metrics,
            _ => Route::Unknown,
        };
    };
    if let Some(control) = below.strip_prefix(RESERVED_SEGMENT)
        && (control.is_empty() || control.starts_with('/'))
    {
        return control_route(method, control, reads);
    }
    match stream_operation(method, headers) {
        Some(operation) => Route::Stream(operation, StreamName::from_path(below)),
        None => Route::Unknown,
    }
}

fn is_server_path(path: &str) -> bool {
    matches!(path, "/up" | "/healthz" | "/readyz" | "/metrics")
}

/// `control` is what follows `__ds`, with its slash.
fn control_route(method: &Method, control: &str, reads: bool) -> Route {
    let segments: Vec<_> = control.split('/').skip(1).collect();
    match segments.as_slice() {
        ["jwks.json"] if reads => Route::Public,
        ["streams"] if reads => Route::List,
        ["subscriptions", id, "callback" | "ack" | "release"] if !id.is_empty() && method == Method::POST => {
            Route::OwnToken
        }
        ["subscriptions", ..] => Route::Subscriptions,
        _ => Route::Unknown,
    }
}

fn stream_operation(method: &Method, headers: &HeaderMap) -> Option<Operation> {
    Some(match *method {
        Method::GET => Operation::Read,
        Method::HEAD => Operation::Metadata,
        Method::DELETE => Operation::Delete,
        Method::PUT if headers.contains_key("stream-forked-from") => Operation::Fork,
        Method::PUT => Operation::Create,
        Method::POST => match (closes(headers), may_have_body(headers)) {
            (false, _) => Operation::Append,
            (true, false) => Operation::Close,
            (true, true) => Operation::AppendAndClose,
        },
        _ => return None,
    })
}

/// Whether a body may follow. Only `Content-Length: 0` says that none does: over HTTP/2 a body
/// may come without any length.
fn may_have_body(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_LENGTH)
        .is_none_or(|length| length.as_bytes() != b"0")
}
