//! The keys that sign deliveries: Ed25519 (RFC 8032), published as a JWK set (RFC 7517, RFC 8037).

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// How long a new key is published before it signs: twice the time for which receivers may keep the
/// JWK set (`Cache-Control: max-age=300`).
const PUBLISHED_BEFORE: u64 = 600;
/// How long a key is published after its last signature: the receivers' replay window of five
/// minutes, the longest wait and attempt of a delivery (ten), and as much for clocks that differ.
const PUBLISHED_AFTER: u64 = 3600;

/// The signing keys of a store: the one that signs, the next one, and those whose signatures may
/// still be verified.
///
/// A ring is a value. [`KeyRing::maintained`] makes the next one; it is stored before it is used, so
/// that no key signs that a restart would forget.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredRing", into = "StoredRing")]
pub struct KeyRing {
    /// By the second from which they sign.
    keys: Vec<SigningKey>,
}

/// A private key, parsed once.
#[derive(Clone)]
struct SigningKey {
    seed: Seed,
    pair: Arc<Ed25519KeyPair>,
    kid: String,
    signs_from: u64,
}

/// The 32 secret bytes of an Ed25519 key.
#[derive(Clone, PartialEq, Eq)]
pub struct Seed([u8; 32]);

/// A key that cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gave no random numbers.
    #[error("no signing key can be generated")]
    Generate,
    /// The stored ring is not one of this version.
    #[error("the stored signing keys have the version {0}, which this server does not know")]
    Version(u32),
    /// A stored key is damaged.
    #[error("a stored signing key is damaged")]
    Damaged,
    /// The ring is empty.
    #[error("there is no signing key yet")]
    Missing,
    /// A defect of the cryptographic library.
    #[error("signing failed")]
    Sign,
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct StoredRing {
    version: u32,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    seed: String,
    signs_from: u64,
}

const VERSION: u32 = 1;

impl Seed {
    /// A new one, of the cryptographic library's generator.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| KeyError::Generate)?;
        Ok(Self(seed))
    }

    #[cfg(test)]
    pub(super) fn fixed(byte: u8) -> Self {
        Self([byte; 32])
    }
}

impl KeyRing {
    /// The ring that replaces this one at `now`, in seconds since the epoch; `None` if nothing is due.
    /// The first key signs at once. After `rotation` a key gets a successor, which is published
    /// before it signs; its own public key stays published for an hour after that.
    ///
    /// # Errors
    /// [`KeyError`], if a key is due and cannot be made.
    pub fn maintained(
        &self,
        now: u64,
        rotation: Option<Duration>,
        generate: impl FnOnce() -> Result<Seed, KeyError>,
    ) -> Result<Option<Self>, KeyError> {
        let mut keys: Vec<_> = self.published(now).cloned().collect();
        match (keys.last(), rotation) {
            (None, _) => keys.push(SigningKey::new(generate()?, now)?),
            (Some(newest), Some(rotation)) if now >= newest.signs_from.saturating_add(rotation.as_secs()) => {
                keys.push(SigningKey::new(generate()?, now.saturating_add(PUBLISHED_BEFORE))?);
            }
            _ => {}
        }
        Ok((keys != self.keys).then_some(Self { keys }))
    }

    /// The name of the key that signs at `now`; `None` if the ring is empty.
    #[must_use]
    pub fn kid(&self, now: u64) -> Option<&str> {
        self.active(now).map(|key| key.kid.as_str())
    }

    /// The value of `Webhook-Signature` for a request with `body` at `now`.
    ///
    /// # Errors
    /// [`KeyError::Missing`], if the ring is empty.
    pub fn signature_header(&self, now: u64, body: &[u8]) -> Result<String, KeyError> {
        let key = self.active(now).ok_or(KeyError::Missing)?;
        let signed = [now.to_string().as_bytes(), b".", body].concat();
        let signature = key.pair.try_sign(&signed).map_err(|_| KeyError::Sign)?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        Ok(format!("t={now},kid={},ed25519={signature}", key.kid))
    }

    /// The JWK set at `now`.
    #[must_use]
    pub fn jwks(&self, now: u64) -> Bytes {
        let keys: Vec<_> = self.published(now).map(SigningKey::jwk).collect();
        serde_json::json!({ "keys": keys }).to_string().into()
    }

    /// The last one that signs already; after the clock was set back, the first.
    fn active(&self, now: u64) -> Option<&SigningKey> {
        let signs = self.keys.iter().rev().find(|key| key.signs_from <= now);
        signs.or(self.keys.first())
    }

    /// A key is withdrawn some time after its successor signs.
    fn published(&self, now: u64) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter().enumerate().filter_map(move |(at, key)| {
            let successor = self.keys.get(at.saturating_add(1));
            let withdrawn = successor.is_some_and(|next| now >= next.signs_from.saturating_add(PUBLISHED_AFTER));
            (!withdrawn).then_some(key)
        })
    }
}

impl SigningKey {
    fn new(seed: Seed, signs_from: u64) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed.0).map_err(|_| KeyError::Damaged)?;
        let kid = format!("ds_{}", thumbprint(pair.public_key().as_ref()));
        Ok(Self {
            seed,
            pair: Arc::new(pair),
            kid,
            signs_from,
        })
    }

    fn jwk(&self) -> serde_json::Value {
        serde_json::json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": self.kid,
            "use": "sig",
            "alg": "EdDSA",
            "x": URL_SAFE_NO_PAD.encode(self.pair.public_key()),
        })
    }
}

/// RFC 7638, with the members that RFC 8037 requires.
fn thumbprint(public_key: &[u8]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public_key);
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.signs_from == other.signs_from
    }
}

/// Without the secret.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("signs_from", &self.signs_from)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(***)")
    }
}

impl TryFrom<StoredRing> for KeyRing {
    type Error = KeyError;

    fn try_from(stored: StoredRing) -> Result<Self, Self::Error> {
        if stored.version != VERSION {
            return Err(KeyError::Version(stored.version));
        }
        let keys = stored.keys.into_iter().map(|key| {
            let seed = URL_SAFE_NO_PAD
                .decode(key.seed)
                .ok()
                .and_then(|seed| seed.try_into().ok());
            SigningKey::new(Seed(seed.ok_or(KeyError::Damaged)?), key.signs_from)
        });
        Ok(Self {
            keys: keys.collect::<Result<_, _>>()?,
        })
    }
}

impl From<KeyRing> for StoredRing {
    fn from(ring: KeyRing) -> Self {
        let stored = |key: SigningKey| StoredKey {
            seed: URL_SAFE_NO_PAD.encode(key.seed.0),
            signs_from: key.signs_from,
        };
        Self {
            version: VERSION,
            keys: ring.keys.into_iter().map(stored).collect(),
        }
    }
}
