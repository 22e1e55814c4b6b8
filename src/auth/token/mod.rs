//! Verification of one token, in steps that `explain` shows one by one.
//!
//! It is stricter than RFC 7515 and RFC 7519: the algorithm is ES256 whatever the header asks for,
//! no header member but `kid` counts, no member may be repeated, and a claim of the wrong type is
//! refused.

mod claims;
mod error;
mod json;
mod reason;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::signature::Verifier as _;

use super::{
    keys::{KeySet, VerifyKey},
    principal::Verified,
};
use crate::auth::AuthConfig;

use json::Members;

pub use claims::Claims;
pub use error::{MAX_TOKEN_BYTES, TokenError};

/// A token in compact form with an acceptable header; not yet trusted.
pub struct Token<'a> {
    /// Header and payload, as they were signed.
    message: &'a str,
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
        let not_three = || TokenError::Malformed("it must have three dot-separated parts");
        let (message, signature) = token.rsplit_once('.').ok_or_else(not_three)?;
        let (header, payload) = message.split_once('.').ok_or_else(not_three)?;
        if payload.contains('.') {
            return Err(not_three());
        }
        let header = decode_object(
            header,
            "its header is not base64url",
            "its header must be one JSON object with each member once",
        )?;
        if header.text("alg", "alg in the header")?.ok_or(TokenError::Algorithm)? != "ES256" {
            return Err(TokenError::Algorithm);
        }
        if header.get("crit").is_some() {
            return Err(TokenError::Critical);
        }
        header.text("typ", "typ in the header")?;
        let kid = header.text("kid", "kid in the header")?.map(str::to_owned);
        Ok(Self {
            message,
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
        let message = self.message.as_bytes();
        let signer = candidates
            .into_iter()
            .find(|key| key.verify(message, &signature).is_ok());
        signer.ok_or(TokenError::Signature)
    }

    /// The number of signature checks that [`Token::signer`] may make.
    pub(super) fn checks(&self, keys: &KeySet) -> u32 {
        let keys = keys.for_kid(self.kid()).map_or(0, |keys| keys.len());
        u32::try_from(keys).unwrap_or(u32::MAX)
    }

    /// The claims, each of its right type. They prove nothing unless [`Token::signer`] found a key.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn claims(&self) -> Result<Claims, TokenError> {
        let claims = decode_object(
            self.payload,
            "its claims are not base64url",
            "its claims must be one JSON object with each member once",
        )?;
        Claims::from_members(&claims)
    }

    /// The steps after [`Token::parse`]: what the token proves at `now`.
    pub(super) fn verify(&self, keys: &KeySet, config: &AuthConfig, now: u64) -> Result<Verified, TokenError> {
        // The signature comes first: refusals of unsigned claims would reveal the expected ones.
        let key = self.signer(keys)?;
        let verified = self.claims()?.accept(config, now)?;
        Ok(verified.until(Arc::clone(key.withdrawn())))
    }
}

fn decode(part: &str, problem: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed(problem))
}

fn decode_object(part: &str, not_base64: &'static str, not_json: &'static str) -> Result<Members, TokenError> {
    let bytes = decode(part, not_base64)?;
    Members::parse(&bytes).ok_or(TokenError::Malformed(not_json))
}

#[cfg(test)]
mod tests;
