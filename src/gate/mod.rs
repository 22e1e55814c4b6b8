//! From a request's head to a [`Permit`], or to the reason why there is none.
//!
//! Identity comes first: before the body is read, the stream is looked up or its name is judged,
//! so that a response tells a client without a token nothing.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, request::Parts};

use crate::{
    auth::{
        AuthConfig, Authenticator, Charge, Denied, FailedChecks, KeysError, OpenServer, Permit, Rate, TokenError,
        Unverified, Verified, authorize, candidates,
    },
    clock::Clock,
    listener::ListenerKind,
    problems::{self, ProblemKind},
    protocol::NameError,
    proxy::Origin,
    routes::{self, Found, Missing},
};

/// The gate's decision on a request that it did not refuse.
#[derive(Debug)]
pub enum Admission {
    /// The handler of the permit's operation.
    Granted(Permit),
    /// 400: an authenticated client named something that is not a stream name.
    BadName(NameError),
    /// 404 or 405: an authenticated client asked for something that does not exist.
    Missing(Missing),
}

/// Why a request does not pass. The messages are client-safe; they never echo the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request has no token.
    #[error("this server needs a token, in the query parameter token or as Authorization: Bearer")]
    NoToken,
    /// None of the request's tokens verifies.
    #[error(transparent)]
    BadToken(#[from] TokenError),
    /// The token verifies but does not allow this.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The address sent too many tokens that did not verify.
    #[error("too many tokens from this address did not verify; try again in {} s", whole_secs(*.0))]
    FailedTooOften(Duration),
    /// The token was refused too often.
    #[error("this token was refused too often; try again in {} s", whole_secs(*.0))]
    RefusedTooOften(Duration),
}

fn whole_secs(time: Duration) -> u64 {
    time.as_secs_f64().ceil().max(1.0) as u64
}

impl Refusal {
    /// The kind of its error response.
    #[must_use]
    pub(crate) fn kind(&self) -> &'static ProblemKind {
        match self {
            Self::NoToken | Self::BadToken(_) => &problems::UNAUTHORIZED,
            Self::Denied(_) => &problems::FORBIDDEN,
            Self::FailedTooOften(_) | Self::RefusedTooOften(_) => &problems::TOO_MANY_REFUSALS,
        }
    }

    /// 401, 403 or 429.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind().status
    }

    /// The `Retry-After` of a 429, in seconds.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::FailedTooOften(time) | Self::RefusedTooOften(time) => Some(whole_secs(*time)),
            Self::NoToken | Self::BadToken(_) | Self::Denied(_) => None,
        }
    }

    /// The `WWW-Authenticate` of a 401 (RFC 6750 section 3).
    #[must_use]
    pub fn www_authenticate(&self) -> Option<HeaderValue> {
        let plain = HeaderValue::from_static("Bearer");
        match self {
            Self::NoToken => Some(plain),
            Self::BadToken(error) => {
                // error_description allows neither quotes nor backslashes; our messages have none.
                let description = error.to_string().replace(['"', '\\'], "'");
                let reason = error.reason();
                let challenge = format!(
                    "Bearer error=\"invalid_token\", error_description=\"{description}\", error_reason=\"{reason}\""
                );
                Some(HeaderValue::try_from(challenge).unwrap_or(plain))
            }
            Self::Denied(_) | Self::FailedTooOften(_) | Self::RefusedTooOften(_) => None,
        }
    }
}

/// Authenticates and authorises requests.
#[derive(Debug, Clone)]
pub struct Gate {
    policy: Policy,
    base: Arc<str>,
    /// Tokens of subscriptions that were not accepted.
    failed_wake_tokens: Arc<FailedChecks>,
    clock: Clock,
}

#[derive(Debug, Clone)]
enum Policy {
    Open(OpenServer),
    Jwt(Arc<Authenticator>),
}

impl Gate {
    /// Reads the configured keys, or opens the gate where the configuration asks for no tokens.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do.
    pub fn load(auth: Option<&AuthConfig>, base: &str, clock: Clock) -> Result<Self, KeysError> {
        let per_minute = auth.map_or_else(
            || AuthConfig::default().max_failures_per_minute,
            |auth| auth.max_failures_per_minute,
        );
        let failed_wake_tokens = Arc::new(FailedChecks::new(Rate { per_minute }));
        let policy = match (OpenServer::declared(auth), auth) {
            (None, Some(auth)) => Policy::Jwt(Authenticator::load(auth, clock.clone())?),
            (None, None) => return Err(KeysError::NotSet),
            (Some(open), _) => Policy::Open(open),
        };
        Ok(Self {
            policy,
            base: base.into(),
            failed_wake_tokens,
            clock,
        })
    }

    /// Charges the client of a request before a token of a subscription is looked up that this
    /// server does not know. Refund it if the token is accepted.
    ///
    /// # Errors
    /// [`Refusal::FailedTooOften`]
    pub(crate) fn charge_wake_token(&self, parts: &Parts) -> Result<Charge, Refusal> {
        let charge = self.failed_wake_tokens.charge(client(parts), 1, self.clock.instant());
        charge.map_err(Refusal::FailedTooOften)
    }

    /// Whether the server asks for no tokens.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.policy, Policy::Open(_))
    }

    /// The verifier of tokens; spawn its [`Authenticator::watch`].
    #[must_use]
    pub fn authenticator(&self) -> Option<&Arc<Authenticator>> {
        match &self.policy {
            Policy::Open(_) => None,
            Policy::Jwt(authenticator) => Some(authenticator),
        }
    }

    /// The base path without a slash at its end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// [`Gate::admit`] for a request's parts.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admit_parts(&self, parts: &Parts) -> Result<Admission, Refusal> {
        let listener = ListenerKind::of(&parts.extensions);
        self.admit(&parts.method, &parts.uri, &parts.headers, listener, client(parts))
    }

    /// Authenticates and authorises a request. A `client` whose tokens keep failing is throttled.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admit(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        listener: ListenerKind,
        client: Option<IpAddr>,
    ) -> Result<Admission, Refusal> {
        let Found { route, stream } = match routes::find(method, uri.path(), &self.base, headers) {
            Ok(found) => found,
            Err(missing) => {
                if let Policy::Jwt(authenticator) = &self.policy {
                    identify(authenticator, uri.query(), headers, client)?;
                }
                return Ok(Admission::Missing(missing));
            }
        };
        if let Some(permit) = Permit::without_token(route, listener == ListenerKind::Internal) {
            return Ok(Admission::Granted(permit));
        }
        let name = stream.as_ref().and_then(|stream| stream.as_ref().ok());
        let permit = match &self.policy {
            Policy::Open(open) => Permit::open(*open, route, name),
            Policy::Jwt(authenticator) => {
                let holder = identify(authenticator, uri.query(), headers, client)?;
                match authorize(&holder, route, name) {
                    Ok(permit) => permit,
                    Err(denied) => {
                        authenticator.count_refusal(&holder).map_err(Refusal::RefusedTooOften)?;
                        return Err(denied.into());
                    }
                }
            }
        };
        Ok(match stream {
            Some(Err(error)) => Admission::BadName(error),
            Some(Ok(_)) | None => Admission::Granted(permit),
        })
    }
}

/// The address that is throttled. The peers of the internal listener were chosen by the operator, and
/// share addresses.
fn client(parts: &Parts) -> Option<IpAddr> {
    match ListenerKind::of(&parts.extensions) {
        ListenerKind::Public => parts.extensions.get::<Origin>().and_then(|origin| origin.client_ip),
        ListenerKind::Internal => None,
    }
}

fn identify(
    authenticator: &Authenticator,
    query: Option<&str>,
    headers: &HeaderMap,
    client: Option<IpAddr>,
) -> Result<Arc<Verified>, Refusal> {
    let tokens = candidates(query, headers)?;
    authenticator
        .verify_first(&tokens, client)
        .map_err(|error| match error {
            Unverified::NoToken => Refusal::NoToken,
            Unverified::Bad(error) => Refusal::BadToken(error),
            Unverified::Throttled(time) => Refusal::FailedTooOften(time),
        })
}

#[cfg(test)]
mod tests;
