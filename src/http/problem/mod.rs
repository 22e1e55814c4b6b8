//! The one mapping from errors to responses.

mod engine_errors;
mod subscription_errors;

use std::{borrow::Cow, sync::LazyLock};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};

use super::{
    caching,
    respond::{self, number, offset},
};
use crate::{
    gate::Refusal,
    log_throttle::LogThrottle,
    problems::{self, ProblemKind, Retry},
    protocol::{
        BadInput, Offset,
        headers::{STREAM_CLOSED, STREAM_NEXT_OFFSET, X_REQUEST_ID},
    },
    random::Random,
    routes::Missing,
};

/// An error response in the making.
#[derive(Debug)]
pub struct Problem {
    kind: &'static ProblemKind,
    /// The error and its remedy, for the client; nothing that only operators may see.
    detail: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The member `error` of refusals that the protocol describes. Boxed, because few have it.
    error: Option<Box<serde_json::Value>>,
    /// For the log only.
    cause: Option<String>,
}

/// `Retry-After` is a random number of seconds up to this, so that clients do not return together.
const MAX_RETRY_SECS: u64 = 4;

impl Problem {
    pub(super) fn new(kind: &'static ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            headers: Vec::new(),
            error: None,
            cause: None,
        }
    }

    /// The refusal of one part of the request.
    pub(super) fn bad(name: &str, reason: &str) -> Self {
        Self::new(&problems::BAD_REQUEST, format!("{name}: {reason}"))
    }

    /// There is no store to work on.
    pub(super) fn starting() -> Self {
        Self::new(&problems::STARTING, "the server is starting; try again")
    }

    /// Whether there was no store to work on.
    pub(super) fn is_starting(&self) -> bool {
        std::ptr::eq(self.kind, &raw const problems::STARTING)
    }

    /// Whether the server that took the store ended while it had the request.
    pub(super) fn is_successor_lost(&self) -> bool {
        std::ptr::eq(self.kind, &raw const problems::SUCCESSOR_LOST)
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds the member `error` with a code of the protocol, unless there is one.
    pub(super) fn coded(mut self, code: &str) -> Self {
        self.error
            .get_or_insert_with(|| Box::new(serde_json::json!({ "code": code })));
        self
    }

    /// Whether the request is malformed.
    pub(super) fn is_bad_request(&self) -> bool {
        std::ptr::eq(self.kind, &raw const problems::BAD_REQUEST)
    }

    fn closed_at(self, tail: Offset) -> Self {
        self.with(STREAM_CLOSED, HeaderValue::from_static("true"))
            .with(STREAM_NEXT_OFFSET, offset(tail))
    }

    fn caused_by(mut self, cause: String) -> Self {
        self.cause = Some(cause);
        self
    }

    /// The response. Its request id is also in the log.
    pub(super) fn respond(self, parts: &Parts, operation: &'static str, random: &Random) -> Response<Body> {
        let request_id = random.id();
        self.log(&request_id, parts.uri.path(), operation);
        let document = problems::document(self.kind, &self.detail, Some(&request_id), self.error.as_deref());
        let mut response = Response::new(Body::from(document));
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problems::CONTENT_TYPE));
        headers.insert(header::CACHE_CONTROL, caching::NO_STORE);
        headers.insert(X_REQUEST_ID, respond::owned(request_id));
        if self.kind.retry == Retry::AfterDelay {
            headers.insert(header::RETRY_AFTER, number(random.between(1, MAX_RETRY_SECS)));
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }

    /// Logs a failure of the server as an error. 503 and 507 are throttled: one cause, such as a
    /// full disk, refuses many requests.
    fn log(&self, request_id: &str, path: &str, operation: &str) {
        static THROTTLE: LazyLock<LogThrottle> = LazyLock::new(LogThrottle::default);
        let status = self.kind.status;
        let is_throttled = matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE
        );
        let allowed = if is_throttled {
            THROTTLE.allow(self.kind.code)
        } else {
            Some(0)
        };
        let cause = self.cause.as_deref().unwrap_or_default();
        match allowed {
            Some(suppressed) if status.is_server_error() => tracing::error!(
                request_id,
                operation,
                http.response.status_code = status.as_u16(),
                url.path = path,
                cause,
                suppressed,
                "{}",
                self.detail
            ),
            _ => tracing::debug!(
                request_id,
                operation,
                http.response.status_code = status.as_u16(),
                url.path = path,
                cause,
                "{}",
                self.detail
            ),
        }
    }
}

impl From<BadInput> for Problem {
    fn from(error: BadInput) -> Self {
        Self::bad(error.name, &error.reason)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let mut problem = Self::new(refusal.kind(), refusal.to_string());
        if let Some(challenge) = refusal.www_authenticate() {
            problem = problem.with(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(secs) = refusal.retry_after() {
            problem = problem.with(header::RETRY_AFTER, number(secs));
        }
        problem
    }
}

impl From<Missing> for Problem {
    fn from(missing: Missing) -> Self {
        let problem = Self::new(missing.kind(), missing.to_string());
        match missing {
            Missing::Path => problem,
            Missing::Method { allowed } => problem.with(header::ALLOW, respond::owned(allowed)),
        }
    }
}
