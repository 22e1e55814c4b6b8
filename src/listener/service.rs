use std::convert::Infallible;
use std::future::{Future, Ready, ready as answered};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use tower::ServiceExt;
use tower::util::Oneshot;

use super::metered::{Meter, Metered, is_event_stream};
use super::refusal::refusal;
use super::state::{ConnectionState, Live, Open};
use super::{ListenerKind, PeerAddr, TlsInfo};

type Answer = Result<Response<Body>, Infallible>;
type MeteredAnswer = Result<Response<Metered>, Infallible>;

/// What a connection's requests go through before the application sees them: framing that two
/// parties could read differently is refused, and the facts of the connection are attached.
#[derive(Debug, Clone)]
pub(super) struct Entry<S> {
    pub(super) inner: S,
    pub(super) peer: PeerAddr,
    pub(super) kind: ListenerKind,
    pub(super) tls: Option<TlsInfo>,
    pub(super) state: Arc<ConnectionState>,
    pub(super) meter: Meter,
}

impl<S> hyper::service::Service<Request<Incoming>> for Entry<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Metered>;
    type Error = Infallible;
    type Future = Either<Ready<MeteredAnswer>, Answering<Oneshot<S, Request<Body>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let open = self.state.begin();
        let finish = match framing(&request) {
            Framing::Plain if may_be_live(&request) => Finish::Live {
                state: Arc::clone(&self.state),
                keep: !asks_to_close(&request),
            },
            Framing::Plain | Framing::Http2 => Finish::Plain,
            Framing::Last => Finish::Last,
            Framing::Refused(detail) => {
                let refusal = refusal(&crate::problems::BAD_FRAMING, detail);
                return Either::Left(answered(Ok(self.meter.wrap(refusal, open))));
            }
        };
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(self.peer);
        extensions.insert(self.kind);
        if let Some(tls) = self.tls {
            extensions.insert(tls);
        }
        Either::Right(Answering {
            inner: self.inner.clone().oneshot(request),
            finish,
            meter: self.meter.clone(),
            open: Some(open),
        })
    }
}

pin_project_lite::pin_project! {
    /// The application's answer, on its way to the connection.
    pub(super) struct Answering<F> {
        #[pin]
        inner: F,
        finish: Finish,
        meter: Meter,
        open: Option<Open>,
    }
}

/// What is done with an answer.
enum Finish {
    Plain,
    /// Taken out of hyper when it turns out to be a live one.
    Live {
        state: Arc<ConnectionState>,
        keep: bool,
    },
    Offered,
    Last,
}

impl<F: Future<Output = Answer>> Future for Answering<F> {
    type Output = MeteredAnswer;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MeteredAnswer> {
        let this = self.project();
        if matches!(this.finish, Finish::Offered) {
            return Poll::Pending;
        }
        let Ok(mut response) = ready!(this.inner.poll(cx));
        match this.finish {
            Finish::Plain | Finish::Offered => {}
            Finish::Last => {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Finish::Live { state, keep } => {
                if response.status() == StatusCode::OK && is_event_stream(&response) {
                    state.offer_live(Live { response, keep: *keep });
                    // hyper never gets this response: the connection is taken from it as soon as
                    // all before this has been sent.
                    *this.finish = Finish::Offered;
                    return Poll::Pending;
                }
            }
        }
        let Some(open) = this.open.take() else {
            return Poll::Pending;
        };
        Poll::Ready(Ok(this.meter.apply(response, open, cx)))
    }
}

/// Whether the answer could be written without hyper: there is nothing left to read.
fn may_be_live(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET && request.version() == Version::HTTP_11 && request.body().is_end_stream()
}

fn asks_to_close<B>(request: &Request<B>) -> bool {
    let lines = request.headers().get_all(header::CONNECTION);
    lines.into_iter().any(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Plain,
    Http2,
    /// Answered, but nothing after it on this connection is read as a request.
    Last,
    Refused(&'static str),
}

/// What the head says of where the request ends and whom it is for (RFC 9112, sections 3.2,
/// 6.1 and 6.3).
fn framing<B>(request: &Request<B>) -> Framing {
    let headers = request.headers();
    if request.version() >= Version::HTTP_2 {
        // Frames carry the length there, and h2 compares a Content-Length with it.
        return Framing::Http2;
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
    // sees it, and a proxy in front may have gone by that length. As of 1.12 it also ends such
    // a connection by itself; that it must is our rule, so it does not rest on theirs alone.
    Framing::Last
}
