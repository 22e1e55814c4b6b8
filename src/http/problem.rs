//! The only place where errors become answers: `application/problem+json` (RFC 9457).

use std::{borrow::Cow, sync::LazyLock};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header, request::Parts};

use super::respond::{number, offset};
use crate::{
    clock,
    engine::{AppendError, CreateError, DeleteError, ForkError, PastError, ReadError, Unavailable},
    gate::Refusal,
    log_throttle::LogThrottle,
    protocol::{BadInput, Offset, headers},
};

/// An answer that is not what was asked for.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    /// The last part of the problem's type, for programs.
    code: &'static str,
    /// What was wrong and what to do, for people. Holds nothing that only operators may see.
    detail: Cow<'static, str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What only operators may see; goes to the log.
    cause: Option<String>,
}

/// How long clients are to wait when the server cannot serve them right now.
const RETRY_SECS: u64 = 2;

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            headers: Vec::new(),
            cause: None,
        }
    }

    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn closed_at(self, tail: Offset) -> Self {
        self.with(headers::STREAM_CLOSED, HeaderValue::from_static("true"))
            .with(headers::STREAM_NEXT_OFFSET, offset(tail))
    }

    fn caused_by(mut self, cause: String) -> Self {
        self.cause = Some(cause);
        self
    }

    /// 400, naming what is wrong.
    pub(super) fn bad(name: &str, reason: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", format!("{name}: {reason}"))
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-path", "nothing is served at this path")
    }

    /// 429 for a client that has its share of something, with a moment to come back at.
    pub(super) fn too_many(code: &'static str, detail: &'static str) -> Self {
        let secs = clock::random_between(1, 2 * RETRY_SECS);
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail).with(header::RETRY_AFTER, number(secs))
    }

    /// 503 with a moment to come back at.
    pub(super) fn come_back(code: &'static str, detail: &'static str) -> Self {
        let secs = clock::random_between(1, 2 * RETRY_SECS);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with(header::RETRY_AFTER, number(secs))
    }

    /// A failure of the server is logged, with a number that the client gets too. A state of the
    /// server, such as a full disk, refuses many, and is logged now and then.
    fn log(&self, request_id: &str, path: &str, operation: &str) {
        static STATES: LazyLock<LogThrottle> = LazyLock::new(LogThrottle::default);
        let (status, cause) = (self.status.as_u16(), self.cause.as_deref().unwrap_or_default());
        let is_state = matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE
        );
        let said = if is_state { STATES.allow(self.code) } else { Some(0) };
        match said {
            Some(suppressed) if self.status.is_server_error() => tracing::error!(
                request_id,
                operation,
                http.response.status_code = status,
                url.path = path,
                cause,
                suppressed,
                "{}",
                self.detail
            ),
            _ => tracing::debug!(
                request_id,
                operation,
                http.response.status_code = status,
                url.path = path,
                cause,
                "{}",
                self.detail
            ),
        }
    }

    /// The answer.
    pub(super) fn respond(self, parts: &Parts, operation: &'static str) -> Response<Body> {
        let request_id = clock::random_id();
        let path = parts.uri.path();
        self.log(&request_id, path, operation);
        let body = serde_json::json!({
            "type": format!("urn:durable-streams:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id,
        });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::try_from(request_id) {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl From<BadInput> for Problem {
    fn from(error: BadInput) -> Self {
        Self::bad(error.name, &error.reason)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.status() {
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::TOO_MANY_REQUESTS => "too-many-refusals",
            _ => "forbidden",
        };
        let problem = Self::new(refusal.status(), code, refusal.detail());
        match (refusal.www_authenticate(), refusal.retry_after()) {
            (Some(challenge), _) => problem.with(header::WWW_AUTHENTICATE, challenge),
            (None, Some(secs)) => problem.with(header::RETRY_AFTER, number(secs)),
            (None, None) => problem,
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Full(cause) => {
                let detail = "the server has no room left for this; it accepts it again once streams were deleted or have expired";
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "full", detail).caused_by(cause)
            }
            Unavailable::Overloaded => Self::come_back("overloaded", "too many writes are waiting; try again"),
            Unavailable::Stopping => Self::come_back("stopping", "the server is stopping; try again"),
            Unavailable::Raced => Self::come_back("raced", "other servers kept changing the stream; try again"),
            Unavailable::ReadOnly(cause) => {
                let detail = "the server's data directory cannot be written to; what is there can be read";
                Self::come_back("read-only", detail).caused_by(cause.to_string())
            }
            Unavailable::Damaged(cause) => {
                let detail = "the server has lost a part of this stream and adds nothing to it; its operator can copy \
                              what is left with `storage repair`, and it can be deleted";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", detail).caused_by(cause)
            }
            Unavailable::Failed(cause) => {
                let detail = "the server's store failed; its log says more under this request_id";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store-failed", detail).caused_by(cause.to_string())
            }
        }
    }
}

fn not_found(error: &impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not-found", error.to_string())
}

fn gone(error: &impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::GONE, "gone", error.to_string())
}

fn conflict(code: &'static str, error: &impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::CONFLICT, code, error.to_string())
}

fn too_large(error: &impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", error.to_string())
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound => not_found(&error),
            ReadError::Gone => gone(&error),
            ReadError::Trimmed { earliest } => Self::new(StatusCode::GONE, "given-up", error.to_string())
                .with(headers::STREAM_EARLIEST_OFFSET, offset(earliest)),
            ReadError::OtherLife { tail } => Self::new(
                StatusCode::GONE,
                "other-life",
                format!("{error}; read on from offset=-1 or offset=now"),
            )
            .with(headers::STREAM_NEXT_OFFSET, offset(tail)),
            ReadError::InvalidOffset => Self::bad("offset", &error.to_string()),
            ReadError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<DeleteError> for Problem {
    fn from(error: DeleteError) -> Self {
        match error {
            DeleteError::NotFound => not_found(&error),
            DeleteError::Gone => gone(&error),
            DeleteError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Exists(_) | CreateError::SoftDeleted => conflict("exists", &error),
            CreateError::Fork(error) => error.into(),
            CreateError::Past(error) => error.into(),
            CreateError::TooLarge(_) => too_large(&error),
            CreateError::TooManyStreams(_) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "too-many-streams", error.to_string())
            }
            CreateError::Bad(bad) => bad.into(),
            CreateError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<ForkError> for Problem {
    fn from(error: ForkError) -> Self {
        match error {
            ForkError::SourceNotFound => not_found(&error),
            ForkError::SourceDeleted => conflict("source-deleted", &error),
            ForkError::ContentType(_) => conflict("content-type", &error),
            ForkError::ForeignOffset | ForkError::PastEnd | ForkError::Trimmed | ForkError::NoBoundary(_) => {
                Self::bad("Stream-Fork-Offset", &error.to_string())
            }
            ForkError::SubOffset => Self::bad("Stream-Fork-Sub-Offset", &error.to_string()),
            ForkError::TooDeep => Self::bad("Stream-Forked-From", &error.to_string()),
            ForkError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<PastError> for Problem {
    fn from(error: PastError) -> Self {
        let header = match error {
            PastError::Fork | PastError::TooMany | PastError::Order | PastError::Future => "Stream-Lives",
            PastError::Earliest => "Stream-Earliest-Offset",
        };
        Self::bad(header, &error.to_string())
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::NotFound => not_found(&error),
            AppendError::Gone => gone(&error),
            AppendError::Closed { tail } => conflict("closed", &error).closed_at(tail),
            AppendError::EmptyBody => Self::bad(
                "body",
                "is empty; only a request with `Stream-Closed: true` may have no body",
            ),
            AppendError::NoContentType => Self::bad("Content-Type", "is missing"),
            AppendError::ContentType(_) => conflict("content-type", &error),
            AppendError::SeqRegression { ref last, tail } => {
                let detail = format!("Sequence conflict: Stream-Seq is not greater than the last one, {last:?}");
                conflict("sequence", &detail).with(headers::STREAM_NEXT_OFFSET, offset(tail))
            }
            AppendError::StaleEpoch { current, closed_at } => {
                let problem = Self::new(StatusCode::FORBIDDEN, "stale-epoch", error.to_string())
                    .with(headers::PRODUCER_EPOCH, number(current));
                match closed_at {
                    Some(tail) => problem.closed_at(tail),
                    None => problem,
                }
            }
            AppendError::EpochStart => {
                Self::new(StatusCode::BAD_REQUEST, "epoch-start", format!("Producer-Seq: {error}"))
            }
            AppendError::SeqGap { expected, received } => conflict("producer-gap", &format!("Producer-Seq: {error}"))
                .with(headers::PRODUCER_EXPECTED_SEQ, number(expected))
                .with(headers::PRODUCER_RECEIVED_SEQ, number(received)),
            AppendError::TooLarge(_) => too_large(&error),
            AppendError::Bad(bad) => bad.into(),
            AppendError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}
