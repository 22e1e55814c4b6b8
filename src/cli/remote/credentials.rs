use std::path::Path;

use p256::ecdsa::SigningKey;
use parking_lot::Mutex;
use reqwest::header::HeaderValue;

use crate::{
    cli::{CliError, token},
    clock,
    config::AuthConfig,
};

/// How many seconds a signed token lasts. It is used for half of that, so that none runs out
/// on its way.
const LIFETIME_SECS: u64 = 120;

/// In whose name requests are made. Shows nothing of tokens and keys.
pub(super) enum Credentials {
    /// Nobody's, for an open server.
    None,
    /// Whose token it is.
    Token(HeaderValue),
    /// An app server's, by tokens of our own.
    Signing(Box<Signer>),
}

pub(super) struct Signer {
    key: SigningKey,
    kid: Option<String>,
    auth: Option<AuthConfig>,
    /// The last token, and the second from which on another one is signed.
    current: Mutex<Option<(HeaderValue, u64)>>,
}

impl Credentials {
    pub(super) fn token(token: &str) -> Result<Self, CliError> {
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        bearer(token).map(Self::Token)
    }

    pub(super) fn signing(key: &Path, kid: Option<String>, auth: Option<AuthConfig>) -> Result<Self, CliError> {
        let signer = Signer {
            key: token::read_key(key)?,
            kid,
            auth,
            current: Mutex::default(),
        };
        Ok(Self::Signing(Box::new(signer)))
    }

    pub(super) fn are_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The `Authorization` of a request that is made now.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, CliError> {
        match self {
            Self::None => Ok(None),
            Self::Token(token) => Ok(Some(token.clone())),
            Self::Signing(signer) => signer.sign(clock::now_secs()).map(Some),
        }
    }
}

impl Signer {
    fn sign(&self, now: u64) -> Result<HeaderValue, CliError> {
        let mut current = self.current.lock();
        if let Some((token, until)) = &*current
            && now < *until
        {
            return Ok(token.clone());
        }
        let claims = token::server_claims(self.auth.as_ref(), now, LIFETIME_SECS);
        let token = bearer(&token::sign(&self.key, self.kid.as_deref(), &claims))?;
        *current = Some((token.clone(), now + LIFETIME_SECS / 2));
        Ok(token)
    }
}

fn bearer(token: &str) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| CliError::Usage("--token: has a character that no token has".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
