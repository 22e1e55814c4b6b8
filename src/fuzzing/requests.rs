//! Whole requests, through the router that others mount.

use std::{cell::RefCell, sync::Arc, time::Duration};

use ::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header::CONTENT_TYPE};
use axum::{Router, body::Body};
use http_body_util::BodyExt as _;
use tokio::{runtime::Runtime, time::timeout};
use tower::ServiceExt as _;

use super::{header_lines, split_at};
use crate::{Config, InMemoryStorage, build_router, protocol::Offset};

/// How many inputs share a store.
const SHARED: usize = 200;

/// An answer that takes longer waits for something to be appended.
const WAITS: Duration = Duration::from_millis(2);

struct Server {
    runtime: Runtime,
    router: Router,
    asked: usize,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut config = Config::default();
        config.limits.max_memory_bytes = 1024 * 1024;
        let _inside = runtime.enter();
        let router = build_router(Arc::new(InMemoryStorage::new(1024 * 1024)), &config).unwrap();
        drop(_inside);
        Self {
            runtime,
            router,
            asked: 0,
        }
    }
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// Requests, divided by NULs: a line with method and target, lines of headers, an empty line, and
/// the body. They go one after the other to the same server.
pub fn requests(data: &[u8]) {
    SERVER.with_borrow_mut(|slot| {
        let server = slot.get_or_insert_with(Server::start);
        server.asked += 1;
        for request in data.split(|byte| *byte == 0).take(8).filter_map(parse) {
            let router = server.router.clone();
            server.runtime.block_on(ask(router, request));
        }
        if server.asked >= SHARED {
            *slot = None;
        }
    });
}

fn parse(data: &[u8]) -> Option<Request<Body>> {
    let end = data
        .windows(2)
        .position(|window| window == b"\n\n")
        .unwrap_or(data.len());
    let (head, body) = (&data[..end], data.get(end + 2..).unwrap_or_default());
    let (line, headers) = split_at(head, b'\n').unwrap_or((head, &[]));
    let (method, target) = split_at(line, b' ')?;
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = Method::from_bytes(method).ok()?;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    *request.headers_mut() = header_lines(headers.split(|byte| *byte == b'\n'));
    Some(request)
}

async fn ask(router: Router, request: Request<Body>) {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let Ok(answer) = timeout(WAITS, router.oneshot(request)).await else {
        return;
    };
    let answer = answer.unwrap();
    let status = answer.status();
    let expected = [
        StatusCode::NOT_IMPLEMENTED,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::INSUFFICIENT_STORAGE,
    ];
    assert!(
        !status.is_server_error() || expected.contains(&status),
        "{method} {uri} was answered {status}"
    );
    if let Some(offset) = answer.headers().get("stream-next-offset") {
        Offset::parse("offset", offset.to_str().unwrap()).unwrap();
    }
    if uri.path().starts_with("/v1/stream/") && method != Method::HEAD {
        look_inside(answer, &method).await;
    }
}

/// Refusals are problems, and JSON is JSON.
async fn look_inside(answer: Response<Body>, method: &Method) {
    let status = answer.status();
    let content_type = answer.headers().get(CONTENT_TYPE).cloned();
    let is = |expected: &'static str| content_type == Some(HeaderValue::from_static(expected));
    if is("text/event-stream") {
        return;
    }
    let Ok(body) = timeout(WAITS, answer.into_body().collect()).await else {
        return;
    };
    let body = body.unwrap().to_bytes();
    if status.is_client_error() || status.is_server_error() {
        assert!(is("application/problem+json"), "{status} without a problem");
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["status"], status.as_u16());
    } else if method == Method::GET && is("application/json") && !body.is_empty() {
        let messages: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&body).unwrap();
        drop(messages);
    }
}
