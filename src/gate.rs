//! From a request's head to a [`Permit`], or to the reason why there is none.
//!
//! Identity comes first: before the body is read, before the stream is looked
//! up, and before its name is judged, so that nobody without a token learns
//! anything from an answer.

mod route;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, request::Parts};

use crate::{
    auth::{
        AuthConfig, Authenticator, Denied, KeysError, OpenServer, Operation, Permit, TokenError, Unverified, Verified,
        authorize, candidates,
    },
    clock::Clock,
    protocol::NameError,
    proxy::Origin,
};

pub use route::{Route, route};

/// Which listener a request came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The one that browsers reach.
    Public,
    /// The one for app servers. The same rules hold there, except that it may ask for metrics.
    Internal,
}

/// What a request may go on to.
#[derive(Debug)]
pub enum Admission {
    /// A handler that needs no leave: preflight, health, the public key set.
    Public,
    /// A handler that checks the request's own token: subscription callbacks, acks, releases.
    OwnToken,
    /// The handler of the permit's operation.
    Granted(Permit),
    /// 400: a known caller named something that is no stream.
    BadName(NameError),
    /// 404 or 405: a known caller asked for something that is not there.
    NoSuchOperation,
}

/// Why a request goes no further. Its texts are for the client and hold nothing of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 401: no token at all.
    #[error("this server needs a token, in the query parameter token or as Authorization: Bearer")]
    NoToken,
    /// 401: none of the tokens counts.
    #[error(transparent)]
    BadToken(#[from] TokenError),
    /// 403: the token counts and does not reach this far.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// 429: the address sent too many tokens that did not verify.
    #[error("too many tokens from this address did not verify; try again in {} s", whole_secs(*.0))]
    FailedTooOften(Duration),
    /// 429: the token was refused too often.
    #[error("this token was refused too often; try again in {} s", whole_secs(*.0))]
    RefusedTooOften(Duration),
}

fn whole_secs(time: Duration) -> u64 {
    time.as_secs_f64().ceil().max(1.0) as u64
}

impl Refusal {
    /// 401, 403 or 429.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::BadToken(_) => StatusCode::UNAUTHORIZED,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::FailedTooOften(_) | Self::RefusedTooOften(_) => StatusCode::TOO_MANY_REQUESTS,
        }
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
                // error_description allows neither quotes nor backslashes; our texts have none.
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

    /// The sentence for the problem's `detail`.
    #[must_use]
    pub fn detail(&self) -> String {
        self.to_string()
    }
}

/// Decides who may pass.
#[derive(Debug, Clone)]
pub struct Gate {
    policy: Policy,
    base: Arc<str>,
}

#[derive(Debug, Clone)]
enum Policy {
    Open(OpenServer),
    Jwt(Arc<Authenticator>),
}

impl Gate {
    /// Reads the keys that the configuration names, or opens the gate where it asks for none.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do.
    pub fn load(auth: Option<&AuthConfig>, base: &str, clock: Clock) -> Result<Self, KeysError> {
        let policy = match (OpenServer::declared(auth), auth) {
            (None, Some(auth)) => Policy::Jwt(Authenticator::load(auth, clock)?),
            (None, None) => return Err(KeysError::NotSet),
            (Some(open), _) => Policy::Open(open),
        };
        Ok(Self {
            policy,
            base: base.into(),
        })
    }

    /// Whether anybody may do anything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.policy, Policy::Open(_))
    }

    /// What verifies the tokens; spawn its [`Authenticator::watch`].
    #[must_use]
    pub fn authenticator(&self) -> Option<&Arc<Authenticator>> {
        match &self.policy {
            Policy::Open(_) => None,
            Policy::Jwt(authenticator) => Some(authenticator),
        }
    }

    /// [`Gate::admit`] for a request's parts.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admit_parts(&self, parts: &Parts, listener: Listener) -> Result<Admission, Refusal> {
        // The peers of the internal listener were chosen by the operator, and share addresses.
        let client = match listener {
            Listener::Public => parts.extensions.get::<Origin>().and_then(|origin| origin.client_ip),
            Listener::Internal => None,
        };
        self.admit(&parts.method, &parts.uri, &parts.headers, listener, client)
    }

    /// Authenticates and authorises a request. A `client` whose tokens keep failing is
    /// slowed down.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn admit(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        listener: Listener,
        client: Option<IpAddr>,
    ) -> Result<Admission, Refusal> {
        let (operation, name) = match route(method, uri.path(), &self.base, headers) {
            Route::Public => return Ok(Admission::Public),
            Route::OwnToken => return Ok(Admission::OwnToken),
            Route::Metrics if listener == Listener::Internal => return Ok(Admission::Public),
            Route::Metrics => (Operation::Metrics, None),
            Route::List => (Operation::List, None),
            Route::Subscriptions => (Operation::Subscriptions, None),
            Route::Stream(operation, name) => (operation, Some(name)),
            Route::Unknown => {
                if let Policy::Jwt(authenticator) = &self.policy {
                    identify(authenticator, uri.query(), headers, client)?;
                }
                return Ok(Admission::NoSuchOperation);
            }
        };
        let stream = name.as_ref().and_then(|name| name.as_ref().ok());
        let permit = match &self.policy {
            Policy::Open(open) => Permit::open(*open, operation, stream),
            Policy::Jwt(authenticator) => {
                let holder = identify(authenticator, uri.query(), headers, client)?;
                match authorize(&holder, operation, stream) {
                    Ok(permit) => permit,
                    Err(denied) => {
                        authenticator.count_refusal(&holder).map_err(Refusal::RefusedTooOften)?;
                        return Err(denied.into());
                    }
                }
            }
        };
        Ok(match name {
            Some(Err(error)) => Admission::BadName(error),
            _ => Admission::Granted(permit),
        })
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
