//! The credentials that requests carry.

use std::path::Path;

use parking_lot::Mutex;
use reqwest::header::HeaderValue;

use crate::{
    cli::{
        error::CliError,
        signing::{SigningKey, server_claims},
    },
    clock::Clock,
    config::AuthConfig,
};

/// The lifetime of a signed token. It is used for half of it, so that none expires on its way.
const LIFETIME_SECS: u64 = 120;

/// The credentials of all requests. Never shown, because they hold tokens and keys.
pub(super) enum Credentials {
    /// None, for an open server.
    None,
    /// One token.
    Token(HeaderValue),
    /// Server tokens, signed as needed.
    Signing(Box<Signer>),
}

pub(super) struct Signer {
    key: SigningKey,
    kid: Option<String>,
    auth: Option<AuthConfig>,
    clock: Clock,
    /// The last token, and the second at which it is replaced.
    current: Mutex<Option<(HeaderValue, u64)>>,
}

impl Credentials {
    pub(super) fn token(token: &str) -> Result<Self, CliError> {
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        bearer(token).map(Self::Token)
    }

    pub(super) fn signing(
        key: &Path,
        kid: Option<String>,
        auth: Option<AuthConfig>,
        clock: Clock,
    ) -> Result<Self, CliError> {
        let signer = Signer {
            key: SigningKey::read(key)?,
            kid,
            auth,
            clock,
            current: Mutex::default(),
        };
        Ok(Self::Signing(Box::new(signer)))
    }

    pub(super) fn is_anonymous(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The `Authorization` header of the next request.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, CliError> {
        match self {
            Self::None => Ok(None),
            Self::Token(token) => Ok(Some(token.clone())),
            Self::Signing(signer) => signer.sign().map(Some),
        }
    }
}

impl Signer {
    fn sign(&self) -> Result<HeaderValue, CliError> {
        let now = self.clock.secs();
        let mut current = self.current.lock();
        if let Some((token, until)) = &*current
            && now < *until
        {
            return Ok(token.clone());
        }
        let claims = server_claims(self.auth.as_ref(), now, LIFETIME_SECS);
        let token = bearer(&self.key.sign(self.kid.as_deref(), &claims)?)?;
        *current = Some((token.clone(), now + LIFETIME_SECS / 2));
        Ok(token)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| CliError::Usage("--token: it has a character that tokens never have".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
