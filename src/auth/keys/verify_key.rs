//! One ES256 public key, parsed once.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer as _,
    signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm,
    crypto::JwtVerifier,
    signature::{Error as SignatureError, Verifier},
};

use super::error::KeyProblem;
use crate::signal::Signal;

/// The bytes of an uncompressed point on P-256.
const POINT_BYTES: usize = 65;

/// A public key and where it comes from.
///
/// It is a verifier of its own for jsonwebtoken, whose ES256 verifier parses the key again for
/// each token.
pub struct VerifyKey {
    kid: String,
    thumbprint: String,
    source: PathBuf,
    key: ParsedPublicKey,
    withdrawn: Arc<Signal>,
}

impl VerifyKey {
    /// From an uncompressed or compressed SEC1 point.
    pub(super) fn from_point(kid: Option<String>, point: &[u8], source: &Path) -> Result<Self, KeyProblem> {
        // aws-lc checks that the point is on the curve and not the identity.
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyProblem::NotOnCurve)?;
        let der = key.as_der().map_err(|_| KeyProblem::NotOnCurve)?;
        let uncompressed = der.as_ref().last_chunk::<POINT_BYTES>().ok_or(KeyProblem::NotOnCurve)?;
        let thumbprint = thumbprint(uncompressed);
        Ok(Self {
            kid: kid.unwrap_or_else(|| thumbprint.clone()),
            thumbprint,
            source: source.to_owned(),
            key,
            withdrawn: Arc::default(),
        })
    }

    /// The name by which a token's header selects it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The RFC 7638 thumbprint.
    #[cfg(any(test, fuzzing))]
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The file that it comes from.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Sent when the key is no longer configured.
    #[must_use]
    pub fn withdrawn(&self) -> &Arc<Signal> {
        &self.withdrawn
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kid == other.kid && self.thumbprint == other.thumbprint
    }
}

impl Verifier<Vec<u8>> for VerifyKey {
    /// `signature` is `r` and `s`, 32 bytes each (RFC 7518 section 3.4).
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        self.key
            .verify_sig(message, signature)
            .map_err(SignatureError::from_source)
    }
}

impl JwtVerifier for VerifyKey {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

/// The RFC 7638 SHA-256 thumbprint of an uncompressed P-256 point.
pub(crate) fn thumbprint(point: &[u8]) -> String {
    let encoded = |range| URL_SAFE_NO_PAD.encode(point.get(range).unwrap_or_default());
    let canonical = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        encoded(1..33),
        encoded(33..65)
    );
    URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}
