//! Why a server did not do what it was asked.

use std::error::Error;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Characters of a server's text that are shown.
const MAX_SHOWN: usize = 500;

/// Why a request failed. The texts never show a token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// No response: the server is down, elsewhere, or not trusted.
    #[error("{url} does not answer: {cause}")]
    Unreachable {
        /// The URL.
        url: String,
        /// The innermost cause.
        cause: String,
        /// The client's error.
        source: reqwest::Error,
    },
    /// A response with an error status.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// A response that breaks the protocol.
    #[error("{url} did not answer as a Durable Streams server: {reason}")]
    UnexpectedResponse {
        /// The URL.
        url: String,
        /// The reason.
        reason: String,
    },
}

/// A response with an error status.
#[derive(Debug, thiserror::Error)]
#[error("{url} answered {status}: {detail}{hint}")]
pub(crate) struct Refused {
    /// The URL.
    pub(super) url: String,
    /// The status.
    pub(super) status: StatusCode,
    /// The server's reason.
    pub(super) detail: String,
    /// The remedy.
    pub(super) hint: &'static str,
    /// The problem's code; empty if the response was no problem of this server.
    pub(super) code: String,
    /// The response headers.
    pub(super) headers: HeaderMap,
}

impl RemoteError {
    pub(super) fn unreachable(url: &str, error: reqwest::Error) -> Self {
        let source = error.without_url();
        Self::Unreachable {
            url: url.to_owned(),
            cause: innermost(&source),
            source,
        }
    }

    pub(in crate::cli) fn unexpected(url: &str, reason: impl Into<String>) -> Self {
        Self::UnexpectedResponse {
            url: url.to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn refused(url: &str, status: StatusCode, headers: HeaderMap, body: &[u8], has_token: bool) -> Self {
        let problem: Option<Value> = serde_json::from_slice(body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
        let code = problem
            .as_ref()
            .and_then(|problem| problem.get("type")?.as_str()?.rsplit(':').next());
        let hint = match (status, has_token) {
            (StatusCode::UNAUTHORIZED, false) => "; set DS_TOKEN to a server token, or give --key",
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, true) => {
                "; `explain` shows what a token allows, and why"
            }
            _ => "",
        };
        Self::Refused(Box::new(Refused {
            url: url.to_owned(),
            status,
            detail: shown(detail.or(status.canonical_reason()).unwrap_or("no reason given")),
            hint,
            code: code.unwrap_or_default().to_owned(),
            headers,
        }))
    }

    /// The error status.
    #[must_use]
    pub(in crate::cli) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            _ => None,
        }
    }

    /// The code of the server's problem.
    #[must_use]
    pub(in crate::cli) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(refused) => Some(&refused.code),
            _ => None,
        }
    }

    /// Whether every other request would fail in the same way.
    #[must_use]
    pub(in crate::cli) fn is_systemic(&self) -> bool {
        match self.status() {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) | None => true,
            Some(status) => !status.is_client_error(),
        }
    }
}

/// The innermost cause: the outer ones only say that a request failed.
pub(in crate::cli) fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it took too long".to_owned();
    }
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    shown(&innermost.to_string())
}

/// Foreign text made safe for a terminal: without control characters, and shortened.
pub(in crate::cli) fn shown(text: &str) -> String {
    let clean = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    text.chars().take(MAX_SHOWN).map(clean).collect()
}
