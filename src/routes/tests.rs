//! Lookups in the route table.

use http::{HeaderValue, header::CONTENT_LENGTH};

use super::*;
use crate::protocol::{
    NameError, StreamName,
    headers::{STREAM_CLOSED, STREAM_FORKED_FROM},
};
use http::{HeaderMap, Method};

const BASE: &str = "/v1/stream";

fn operation(method: &str, path: &str, headers: &HeaderMap) -> Operation {
    let method: Method = method.parse().unwrap();
    find(&method, path, BASE, headers).unwrap().route.operation
}

fn missing(method: &str, path: &str) -> Missing {
    let method: Method = method.parse().unwrap();
    find(&method, path, BASE, &HeaderMap::new()).unwrap_err()
}

#[test]
fn methods_and_paths_become_operations() {
    let none = HeaderMap::new();
    for (method, path, expected) in [
        ("GET", "/v1/stream/a", Operation::Read),
        ("HEAD", "/v1/stream/a", Operation::Metadata),
        ("POST", "/v1/stream/a", Operation::Append),
        ("PUT", "/v1/stream/a", Operation::Create),
        ("PUT", "/v1/stream", Operation::Create),
        ("DELETE", "/v1/stream/a", Operation::Delete),
        ("GET", "/v1/stream/__dsx", Operation::Read),
        ("GET", "/v1/stream/__ds/streams", Operation::List),
        ("HEAD", "/v1/stream/__ds/streams", Operation::List),
        ("GET", "/v1/stream/__ds/jwks.json", Operation::SigningKeys),
        ("GET", "/v1/stream/__ds/subscriptions", Operation::SubscriptionList),
        ("PUT", "/v1/stream/__ds/subscriptions/s", Operation::SubscriptionCreate),
        (
            "HEAD",
            "/v1/stream/__ds/subscriptions/s%2F",
            Operation::SubscriptionRead,
        ),
        (
            "DELETE",
            "/v1/stream/__ds/subscriptions/s",
            Operation::SubscriptionDelete,
        ),
        (
            "POST",
            "/v1/stream/__ds/subscriptions/streams/streams",
            Operation::SubscriptionAddStreams,
        ),
        (
            "DELETE",
            "/v1/stream/__ds/subscriptions/s/streams/a/b",
            Operation::SubscriptionRemoveStream,
        ),
        (
            "POST",
            "/v1/stream/__ds/subscriptions/s/ack",
            Operation::SubscriptionAck,
        ),
        ("GET", "/up", Operation::Alive),
        ("HEAD", "/healthz", Operation::Alive),
        ("GET", "/readyz", Operation::Ready),
        ("GET", "/metrics", Operation::Metrics),
        ("OPTIONS", "/v1/stream/a", Operation::Preflight),
        ("OPTIONS", "/nowhere", Operation::Preflight),
    ] {
        assert_eq!(operation(method, path, &none), expected, "{method} {path}");
    }
}

#[test]
fn headers_tell_operations_of_one_method_apart() {
    let with = |pairs: &[(http::HeaderName, &'static str)]| {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect::<HeaderMap>()
    };
    let path = "/v1/stream/a";
    let fork = with(&[(STREAM_FORKED_FROM, "/v1/stream/b")]);
    assert_eq!(operation("PUT", path, &fork), Operation::Fork);
    let closing = with(&[(STREAM_CLOSED, "TRUE")]);
    assert_eq!(operation("POST", path, &closing), Operation::AppendAndClose);
    let empty = with(&[(STREAM_CLOSED, "true"), (CONTENT_LENGTH, "0")]);
    assert_eq!(operation("POST", path, &empty), Operation::Close);
    let open = with(&[(STREAM_CLOSED, "false"), (CONTENT_LENGTH, "0")]);
    assert_eq!(operation("POST", path, &open), Operation::Append);
}

#[test]
fn a_stream_is_named_by_the_path_below_the_base() {
    let name = |path: &str| find(&Method::GET, path, BASE, &HeaderMap::new()).unwrap().stream;
    assert_eq!(name("/v1/stream/a"), Some(StreamName::new("a")));
    assert_eq!(name("/v1/stream//a"), Some(StreamName::new("/a")));
    assert_eq!(name("/v1/stream"), Some(Err(NameError::Empty)));
    assert_eq!(name("/v1/stream/"), Some(Err(NameError::Empty)));
    assert_eq!(name("/v1/stream/__ds/streams"), None);
}

#[test]
fn an_empty_base_does_not_hide_the_servers_own_paths() {
    let at = |path| find(&Method::GET, path, "", &HeaderMap::new()).unwrap();
    assert_eq!(at("/up").route.operation, Operation::Alive);
    assert_eq!(at("/a").stream, Some(StreamName::new("a")));
}

#[test]
fn a_path_without_a_row_is_missing() {
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/v1/streams/a"),
        ("GET", "/%75p"),
        ("GET", "/v1/stream/__ds"),
        ("GET", "/v1/stream/__ds/"),
        ("GET", "/v1/stream/__ds/streams/"),
        ("GET", "/v1/stream/__ds/jwks.json/"),
        ("PUT", "/v1/stream/__ds/subscriptions/"),
        ("POST", "/v1/stream/__ds/subscriptions//ack"),
        ("POST", "/v1/stream/__ds/subscriptions/s/ack/"),
        ("DELETE", "/v1/stream/__ds/subscriptions/s/streams/"),
        ("PATCH", "/v1/stream//__ds/x"),
    ] {
        assert_eq!(missing(method, path), Missing::Path, "{method} {path}");
    }
}

#[test]
fn a_method_without_a_row_is_answered_with_those_that_have_one() {
    let allowed = |allowed: &str| Missing::Method {
        allowed: allowed.to_owned(),
    };
    let all = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
    assert_eq!(missing("PATCH", "/v1/stream/a"), allowed(all));
    assert_eq!(missing("PATCH", "/v1/stream/a/../b"), allowed(all));
    assert_eq!(allowed_methods(), all);
    for path in ["/up", "/healthz", "/readyz", "/metrics", "/v1/stream/__ds/streams"] {
        assert_eq!(missing("POST", path), allowed("GET, HEAD"), "{path}");
    }
}

#[test]
fn every_row_can_be_reached() {
    for (index, route) in ROUTES.iter().enumerate() {
        let hidden = ROUTES.iter().take(index).find(|earlier| {
            let catches_all = [HeaderMap::new(), closing(), forking()].iter().all(earlier.when);
            let same_method = route.methods.iter().all(|method| earlier.methods.contains(method));
            catches_all && same_method && earlier.path == route.path
        });
        assert!(hidden.is_none(), "{} is hidden by {hidden:?}", route.name);
    }
}

fn closing() -> HeaderMap {
    [
        (STREAM_CLOSED, HeaderValue::from_static("true")),
        (CONTENT_LENGTH, HeaderValue::from(0)),
    ]
    .into_iter()
    .collect()
}

fn forking() -> HeaderMap {
    [(STREAM_FORKED_FROM, HeaderValue::from_static("/x"))]
        .into_iter()
        .collect()
}
