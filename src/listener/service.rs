use std::convert::Infallible;
use std::future::{Ready, ready};

use axum::body::Body;
use futures_util::future::{Either, FutureExt, Map};
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tower::ServiceExt;
use tower::util::Oneshot;

use super::refusal::refusal;
use super::{ListenerKind, PeerAddr, TlsInfo};

type Answer = Result<Response<Body>, Infallible>;

/// What a connection's requests go through before the application sees them: framing that two
/// parties could read differently is refused, and the facts of the connection are attached.
#[derive(Debug, Clone)]
pub(super) struct Entry<S> {
    pub(super) inner: S,
    pub(super) peer: PeerAddr,
    pub(super) kind: ListenerKind,
    pub(super) tls: Option<TlsInfo>,
}

impl<S> hyper::service::Service<Request<Incoming>> for Entry<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Answer>, Map<Oneshot<S, Request<Body>>, fn(Answer) -> Answer>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let finish: fn(Answer) -> Answer = match framing(&request) {
            Framing::Plain => |answer| answer,
            Framing::Last => last,
            Framing::Refused(detail) => {
                return Either::Left(ready(Ok(refusal(StatusCode::BAD_REQUEST, "Bad Request", detail))));
            }
        };
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(self.peer);
        extensions.insert(self.kind);
        if let Some(tls) = self.tls {
            extensions.insert(tls);
        }
        Either::Right(self.inner.clone().oneshot(request).map(finish))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Plain,
    /// Answered, but nothing behind it on this connection is read as a request.
    Last,
    Refused(&'static str),
}

/// What the head says of where the request ends and whom it is for (RFC 9112, sections 3.2,
/// 6.1 and 6.3).
fn framing<B>(request: &Request<B>) -> Framing {
    let headers = request.headers();
    if request.version() >= Version::HTTP_2 {
        // Frames carry the length there, and h2 compares a Content-Length with it.
        return Framing::Plain;
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => {}
        (None, None) if request.version() < Version::HTTP_11 => {}
        (None, None) => return Framing::Refused("Host: missing"),
        _ => return Framing::Refused("Host: given more than once"),
    }
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(encoding) = encodings.next() else {
        return Framing::Plain;
    };
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Framing::Refused("Transfer-Encoding: given together with Content-Length");
    }
    if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Framing::Refused("Transfer-Encoding: only chunked is understood");
    }
    // hyper takes a Content-Length that stands beside a Transfer-Encoding away before anyone
    // sees it, so any request with the latter may be one with both, and a proxy in front may
    // have gone by the other length. Whatever follows is not taken for a request.
    Framing::Last
}

fn last(answer: Answer) -> Answer {
    answer.map(|mut response| {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    })
}
