//! The request's end of a takeover: finds live responses and keeps them from hyper.

use std::sync::Arc;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;

use super::takeover::LiveResponse;
use crate::listener::{connection::state::ConnectionState, response::body::is_event_stream};

/// Belongs to one request that may get a live response.
pub(in crate::listener) struct LiveHandoff {
    /// `None` once a response has been offered.
    state: Option<Arc<ConnectionState>>,
    keep_alive: bool,
}

impl LiveHandoff {
    pub(in crate::listener) fn new<B>(request: &Request<B>, state: Arc<ConnectionState>) -> Self {
        Self {
            state: Some(state),
            keep_alive: !asks_to_close(request),
        }
    }

    /// Takes a live response and returns any other. The request's future must stay pending after
    /// `None`: the connection is taken from hyper before it would need the response.
    pub(in crate::listener) fn offer(&mut self, response: Response<Body>) -> Option<Response<Body>> {
        if response.status() != StatusCode::OK || !is_event_stream(&response) {
            return Some(response);
        }
        let Some(state) = self.state.take() else {
            return Some(response);
        };
        state.offer_live(LiveResponse {
            response,
            keep_alive: self.keep_alive,
        });
        None
    }

    pub(in crate::listener) fn is_done(&self) -> bool {
        self.state.is_none()
    }
}

/// Whether the response could be written without hyper: on HTTP/1.1, with nothing left to read.
pub(in crate::listener) fn may_be_live(request: &Request<Incoming>) -> bool {
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
