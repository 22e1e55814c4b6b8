use std::error::Error;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// The longest text of a server's that is repeated, in characters.
const MAX_SHOWN: usize = 500;

/// Why a server did not do what it was asked. The texts are for the person at the terminal and
/// hold no token.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No answer: the server is down, or not there, or not trusted.
    #[error("{url} does not answer: {cause}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What went wrong.
        cause: String,
    },
    /// An answer that says no.
    #[error("{0}")]
    Refused(Box<Refused>),
    /// An answer that makes no sense.
    #[error("{url} gave an answer that is not one of a Durable Streams server: {what}")]
    Strange {
        /// What was asked.
        url: String,
        /// The reason.
        what: String,
    },
}

/// An answer that says no.
#[derive(Debug, thiserror::Error)]
#[error("{url} answered {status}: {detail}{hint}")]
pub struct Refused {
    /// What was asked.
    pub url: String,
    /// The answer's status.
    pub status: StatusCode,
    /// The server's reason.
    pub detail: String,
    /// What to do about it.
    pub hint: &'static str,
    /// The answer's headers.
    pub headers: HeaderMap,
}

impl RemoteError {
    /// No answer, from an error of the HTTP client.
    pub(super) fn unreachable(url: &str, error: reqwest::Error) -> Self {
        let error = error.without_url();
        // The outer ones say that a request was sent, the innermost why it failed.
        let mut innermost: &dyn Error = &error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let cause = match error.is_timeout() {
            true => "it took too long".to_owned(),
            false => shown(&innermost.to_string()),
        };
        Self::Unreachable {
            url: url.to_owned(),
            cause,
        }
    }

    pub(super) fn strange(url: &str, what: impl Into<String>) -> Self {
        Self::Strange {
            url: url.to_owned(),
            what: what.into(),
        }
    }

    pub(super) fn refused(url: &str, status: StatusCode, headers: HeaderMap, body: &[u8], has_token: bool) -> Self {
        let problem: Option<Value> = serde_json::from_slice(body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str());
        let hint = match (status, has_token) {
            (StatusCode::UNAUTHORIZED, false) => "; set DS_TOKEN to a server token, or give --key",
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, true) => "; `explain` says what a token allows, and why",
            _ => "",
        };
        Self::Refused(Box::new(Refused {
            url: url.to_owned(),
            status,
            detail: shown(detail.or(status.canonical_reason()).unwrap_or("no reason given")),
            hint,
            headers,
        }))
    }

    /// The status of an answer that says no.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refused) => Some(refused.status),
            _ => None,
        }
    }

    /// Whether every other request would fail in the same way.
    #[must_use]
    pub fn is_general(&self) -> bool {
        match self.status() {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) | None => true,
            Some(status) => !status.is_client_error(),
        }
    }
}

/// Somebody else's text, fit for a terminal: without control characters and not too long.
pub(crate) fn shown(text: &str) -> String {
    let clean = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    text.chars().take(MAX_SHOWN).map(clean).collect()
}
