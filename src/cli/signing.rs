//! The private key that signs tokens.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::auth::{AuthConfig, keys::pem};

/// Why a private key cannot sign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningKeyError {
    /// The file cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// No PEM block with a private key.
    #[error("{} holds no private key; tokens are signed with the private key of the pair", .0.display())]
    NoPrivateKey(PathBuf),
    /// An encrypted key.
    #[error("{} is encrypted; decrypt it with `openssl pkey -in {} -out signing_key.pem`", .0.display(), .0.display())]
    Encrypted(PathBuf),
    /// Damaged, or another kind of key.
    #[error("{} is not an EC private key on P-256 (`keys generate` makes one)", .0.display())]
    NotP256(PathBuf),
    /// The library refused to sign.
    #[error("the token cannot be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// An EC private key on P-256.
pub(super) struct SigningKey(EncodingKey);

impl SigningKey {
    /// Reads a PEM file: PKCS#8 or SEC1.
    pub(super) fn read(file: &Path) -> Result<Self, SigningKeyError> {
        let path = file.to_owned();
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(source) => return Err(SigningKeyError::Read { path, source }),
        };
        let text = pem::unindented(&text);
        match pem::labels(&text).find(|label| label.ends_with("PRIVATE KEY")) {
            None => return Err(SigningKeyError::NoPrivateKey(path)),
            Some("ENCRYPTED PRIVATE KEY") => return Err(SigningKeyError::Encrypted(path)),
            Some(_) => {}
        }
        let pkcs8 = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok().and_then(|key| {
            let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der());
            pair.ok()?.to_pkcs8v1().ok()
        });
        match pkcs8 {
            Some(pkcs8) => Ok(Self(EncodingKey::from_ec_der(pkcs8.as_ref()))),
            None => Err(SigningKeyError::NotP256(path)),
        }
    }

    /// A token with these claims.
    pub(super) fn sign(&self, kid: Option<&str>, claims: &Value) -> Result<String, SigningKeyError> {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(Algorithm::ES256)
        };
        Ok(jsonwebtoken::encode(&header, claims, &self.0)?)
    }
}

/// The claims of an app server's token that lasts `lifetime` seconds from `now`, with the configured
/// issuer and audience.
pub(super) fn server_claims(auth: Option<&AuthConfig>, now: u64, lifetime: u64) -> Value {
    let mut claims = json!({"server": true, "iat": now, "exp": now.saturating_add(lifetime)});
    if let (Some(auth), Some(claims)) = (auth, claims.as_object_mut()) {
        for (claim, expected) in [("iss", &auth.issuer), ("aud", &auth.audience)] {
            claims.extend(expected.first().map(|one| (claim.to_owned(), json!(one))));
        }
    }
    claims
}
