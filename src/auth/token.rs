//! Verification of one token, in steps that `explain` can walk through too.
//!
//! On top of RFC 7515 and RFC 7519:
//! ES256 whatever the header says, nothing in the header but `kid` counts, and
//! a claim of the wrong type is a refusal rather than a default.

mod claims;
mod json;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{
    Verified,
    keys::{KeySet, VerifyKey},
};
use crate::{auth::AuthConfig, protocol::NameError};

pub use claims::Claims;

/// The longest token that is looked at: a header line of 8 KiB holds no longer one anyway.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// Why a token does not count. Its text is the reason that a client may read; it never holds
/// any of the token's own text, and only characters that RFC 6750 allows in
/// `error_description`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not a JWT in compact form.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// Tokens in places of which there may be one.
    #[error("more than one {0} in the request")]
    Repeated(&'static str),
    /// `alg` is not ES256.
    #[error("the token's algorithm is not ES256")]
    Algorithm,
    /// A `crit` header: extensions that must be understood, and none is.
    #[error("the token's header has crit, and no extension is supported")]
    Critical,
    /// `kid` names none of several keys.
    #[error("the token's kid names an unknown key")]
    UnknownKey,
    /// No `kid`, and more keys than are tried.
    #[error("the token's header has no kid, and the server has too many keys to try each")]
    KidMissing,
    /// Every key was withdrawn.
    #[error("the server has no key to verify tokens with")]
    NoKeys,
    /// No key made this signature.
    #[error("the token's signature does not verify")]
    Signature,
    /// A required claim is not there.
    #[error("the token has no {0} claim")]
    Missing(&'static str),
    /// A claim of the wrong JSON type, or a header member.
    #[error("{0} has the wrong type")]
    WrongType(&'static str),
    /// A number that cannot be a time in seconds, such as milliseconds.
    #[error("{0} is not a time in seconds since 1970")]
    NotATime(&'static str),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is ahead.
    #[error("the token is not valid yet (nbf)")]
    NotYetValid,
    /// `iat` is ahead.
    #[error("the token was issued in the future (iat)")]
    IssuedInFuture,
    /// `iss` is not the configured one.
    #[error("the token's issuer is not accepted")]
    Issuer,
    /// `aud` holds none of the configured ones.
    #[error("the token's audience is not accepted")]
    Audience,
    /// Both `stream` and `server`.
    #[error("the token has both a stream and a server claim")]
    BothKinds,
    /// Neither `stream` nor `server`.
    #[error("the token has neither a stream nor a server claim")]
    NeitherKind,
    /// `server` is neither true nor a name.
    #[error("the server claim is neither true nor a name")]
    Server,
    /// `stream` is no stream name.
    #[error("the stream claim is not a stream name: {0}")]
    Stream(NameError),
}

impl TokenError {
    /// Whether the same token fails for the same reason at any later time.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::NotYetValid | Self::IssuedInFuture)
    }
}

/// The steps after [`Token::parse`]: what `token` proves at `now`.
pub(super) fn verify(
    token: &Token<'_>,
    keys: &KeySet,
    expected: &AuthConfig,
    now: u64,
) -> Result<Verified, TokenError> {
    let key = token.signer(keys)?;
    // Only now: nobody learns what a claim should be by sending unsigned ones.
    let verified = token.claims()?.accept(expected, now)?;
    Ok(verified.until(key.withdrawn().clone()))
}

/// A token in compact form with an acceptable header; not yet trusted.
pub struct Token<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
    kid: Option<String>,
}

impl<'a> Token<'a> {
    /// Splits the token and checks its header.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLong);
        }
        let three = || TokenError::Malformed("it is not three parts with dots between them");
        let (signed, signature) = token.rsplit_once('.').ok_or_else(three)?;
        let (header, payload) = signed.split_once('.').ok_or_else(three)?;
        if payload.contains('.') {
            return Err(three());
        }
        let header = object(
            header,
            "its header is not base64url",
            "its header is not one JSON object",
        )?;
        if text(&header, "alg", "alg in the header")?.ok_or(TokenError::Algorithm)? != "ES256" {
            return Err(TokenError::Algorithm);
        }
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        text(&header, "typ", "typ in the header")?;
        let kid = text(&header, "kid", "kid in the header")?.map(str::to_owned);
        Ok(Self {
            signed,
            payload,
            signature,
            kid,
        })
    }

    /// The header's `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The key that signed it.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`], [`TokenError::Signature`] or [`TokenError::Malformed`]
    pub fn signer<'k>(&self, keys: &'k KeySet) -> Result<&'k VerifyKey, TokenError> {
        let candidates = keys.for_kid(self.kid())?;
        let signature = decode(self.signature, "its signature is not base64url")?;
        let signer = candidates
            .into_iter()
            .find(|key| key.verifies(self.signed.as_bytes(), &signature));
        signer.map(AsRef::as_ref).ok_or(TokenError::Signature)
    }

    /// How many signatures [`Token::signer`] may check.
    pub(super) fn checks(&self, keys: &KeySet) -> u32 {
        let keys = keys.for_kid(self.kid()).map_or(0, |keys| keys.len());
        u32::try_from(keys).unwrap_or(u32::MAX)
    }

    /// The claims, each of its right type. They mean nothing unless [`Token::signer`] found one.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn claims(&self) -> Result<Claims, TokenError> {
        let claims = object(
            self.payload,
            "its claims are not base64url",
            "its claims are not one JSON object with each member once",
        )?;
        Claims::from_object(&claims)
    }
}

fn decode(part: &str, problem: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(problem))
}

fn object(part: &str, not_base64: &'static str, not_json: &'static str) -> Result<Map<String, Value>, TokenError> {
    let bytes = decode(part, not_base64)?;
    json::object(&bytes).ok_or(TokenError::Malformed(not_json))
}

/// A member that must be a string when it is there.
fn text<'m>(map: &'m Map<String, Value>, member: &str, called: &'static str) -> Result<Option<&'m str>, TokenError> {
    match map.get(member) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::WrongType(called)),
    }
}

#[cfg(test)]
mod tests;
