//! The checks that each request passes before the application sees it.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready as resolved},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use futures_util::future::Either;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use tower::{ServiceExt, util::Oneshot};

use super::{
    framing::{Framing, framing},
    state::{ConnectionState, InFlight},
};
use crate::{
    listener::{
        live::handoff::{LiveHandoff, may_be_live},
        peer::{ListenerKind, TlsInfo},
        refusal::refusal,
        response::{
            body::MeteredBody,
            budget::ResponseBudget,
            progress::{BodyProgress, ProgressHandoff},
        },
    },
    problems,
};

/// Refuses ambiguous framing, adds the facts of the connection to requests, and charges responses
/// to a memory budget.
#[derive(Debug, Clone)]
pub(in crate::listener) struct ConnectionService<S> {
    pub(in crate::listener) app: S,
    pub(in crate::listener) kind: ListenerKind,
    pub(in crate::listener) tls: Option<TlsInfo>,
    pub(in crate::listener) state: Arc<ConnectionState>,
    pub(in crate::listener) budget: Arc<ResponseBudget>,
    /// On HTTP/2.
    pub(in crate::listener) progress: Option<Arc<ProgressHandoff>>,
}

impl<S> ConnectionService<S> {
    pub(in crate::listener) fn new(app: S, kind: ListenerKind, state: Arc<ConnectionState>) -> Self {
        Self {
            app,
            kind,
            tls: None,
            budget: Arc::clone(&state.responses),
            state,
            progress: None,
        }
    }
}

type MeteredResult = Result<Response<MeteredBody>, Infallible>;

impl<S> hyper::service::Service<Request<Incoming>> for ConnectionService<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<MeteredBody>;
    type Error = Infallible;
    type Future = Either<Ready<MeteredResult>, ResponseFuture<Oneshot<S, Request<Body>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = self.state.start_request();
        let progress = self.progress.as_ref().map(|handoff| handoff.start_stream());
        let framing = framing(&request);
        if let Framing::Refused(detail) = framing {
            let refusal = refusal(&problems::BAD_FRAMING, detail);
            let refusal = MeteredBody::charge(refusal, &self.budget, in_flight, progress);
            return Either::Left(resolved(Ok(refusal)));
        }
        let live = (framing == Framing::Plain && may_be_live(&request))
            .then(|| LiveHandoff::new(&request, Arc::clone(&self.state)));
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        extensions.insert(self.state.peer);
        if self.kind != ListenerKind::Public {
            extensions.insert(self.kind);
        }
        if let Some(tls) = self.tls {
            extensions.insert(tls);
        }
        Either::Right(ResponseFuture {
            app: self.app.clone().oneshot(request),
            live,
            close: framing == Framing::Last || self.state.is_last_request(),
            budget: Arc::clone(&self.budget),
            progress,
            in_flight: Some(in_flight),
        })
    }
}

pin_project_lite::pin_project! {
    /// Takes the application's response to the connection.
    pub(in crate::listener) struct ResponseFuture<F> {
        #[pin]
        app: F,
        live: Option<LiveHandoff>,
        close: bool,
        budget: Arc<ResponseBudget>,
        progress: Option<Arc<BodyProgress>>,
        // `None` once the future has resolved.
        in_flight: Option<InFlight>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for ResponseFuture<F> {
    type Output = MeteredResult;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MeteredResult> {
        let this = self.project();
        if this.live.as_ref().is_some_and(LiveHandoff::is_done) {
            return Poll::Pending;
        }
        let Ok(mut response) = ready!(this.app.poll(cx));
        if let Some(live) = this.live {
            match live.offer(response) {
                Some(not_live) => response = not_live,
                None => return Poll::Pending,
            }
        }
        if *this.close {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let Some(in_flight) = this.in_flight.take() else {
            return Poll::Pending;
        };
        let response = MeteredBody::admit(response, this.budget, in_flight, this.progress.take(), cx);
        Poll::Ready(Ok(response))
    }
}
