//! Tokens of wakes: each lets its holder acknowledge one generation of one subscription, and nothing
//! else.
//!
//! A token is the generation and its authentication code under a secret that each subscription has
//! for itself. So nothing is stored for a token, and one of an earlier generation, which is refused
//! as fenced, can be told from one that was never issued.

use std::fmt;

use aws_lc_rs::{hmac, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Makes tokens easy to find where they should not be. Not the form of a JWT.
const PREFIX: &str = "dswake_";
/// Separates these codes from any other use of the secret.
const CONTEXT: &[u8] = b"durable-streams wake token v1";
const GENERATION_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// HMAC-SHA-256.
const CODE_BYTES: usize = 32;

/// The secret of one subscription.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret([u8; SECRET_BYTES]);

/// The system has no random numbers.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the operating system gave no random numbers")]
pub(super) struct NoRandom;

impl Secret {
    pub(super) fn generate() -> Result<Self, NoRandom> {
        let mut bytes = [0; SECRET_BYTES];
        rand::fill(&mut bytes).map_err(|_| NoRandom)?;
        Ok(Self(bytes))
    }

    /// A secret that verifies nothing, for work that must take the same time without a subscription.
    pub(super) fn none() -> Self {
        Self([0; SECRET_BYTES])
    }

    fn code(&self, generation: u64) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hmac::sign(&key, &signed(generation)).as_ref().to_vec()
    }

    /// The token of a generation.
    pub(super) fn token(&self, generation: u64) -> String {
        let mut bytes = generation.to_be_bytes().to_vec();
        bytes.extend(self.code(generation));
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether a text could be a token of any subscription.
    pub(super) fn is_well_formed(token: &str) -> bool {
        let bytes = token.strip_prefix(PREFIX).map(|body| URL_SAFE_NO_PAD.decode(body));
        matches!(bytes, Some(Ok(bytes)) if bytes.len() == GENERATION_BYTES + CODE_BYTES)
    }

    /// The generation of a token that was issued with this secret. Takes the same time for every
    /// well-formed token.
    pub(super) fn verify(&self, token: &str) -> Option<u64> {
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
        let (generation, code) = bytes.split_first_chunk::<GENERATION_BYTES>()?;
        let generation = u64::from_be_bytes(*generation);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        hmac::verify(&key, &signed(generation), code).ok()?;
        Some(generation)
    }
}

fn signed(generation: u64) -> Vec<u8> {
    [CONTEXT, &generation.to_be_bytes()].concat()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let secret = bytes.and_then(|bytes| bytes.try_into().ok());
        secret.map(Self).ok_or_else(|| serde::de::Error::custom("not a secret"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_valid_for_its_subscription_and_names_its_generation() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let token = one.token(7);
        assert_eq!(one.verify(&token), Some(7));
        assert_eq!(other.verify(&token), None);
        assert_eq!(Secret::none().verify(&token), None);
    }

    #[test]
    fn a_changed_token_is_refused() {
        let secret = Secret::generate().unwrap();
        let token = secret.token(1);
        let body = token.strip_prefix(PREFIX).unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(body).unwrap();
        for index in 0..bytes.len() {
            bytes[index] ^= 1;
            let changed = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(&bytes));
            assert_eq!(secret.verify(&changed), None, "byte {index}");
            bytes[index] ^= 1;
        }
        for wrong in [
            "",
            PREFIX,
            body,
            "a.b.c",
            &token[..token.len() - 2],
            &format!("{token}AA"),
        ] {
            assert_eq!(secret.verify(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::generate().unwrap()), "Secret");
    }
}
