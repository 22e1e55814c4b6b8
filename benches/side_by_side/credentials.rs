//! Keys, tokens and certificates of a run.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use crate::{client::TlsClient, work::Outcome};

fn failed(error: &dyn std::fmt::Display) -> String {
    format!("cannot make keys: {error}")
}

/// An ES256 key, its public half as a file, and a server token for the whole run.
pub struct Credentials {
    pub verify_key: PathBuf,
    pub token: String,
    signing_key: EncodingKey,
}

impl Credentials {
    pub fn new(dir: &Path) -> Outcome<Self> {
        let pair = rcgen::KeyPair::generate().map_err(|e| failed(&e))?;
        let verify_key = dir.join("verify_key.pem");
        std::fs::write(&verify_key, pair.public_key_pem()).map_err(|e| failed(&e))?;
        let signing_key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).map_err(|e| failed(&e))?;
        Ok(Self {
            token: sign(&signing_key, "run")?,
            verify_key,
            signing_key,
        })
    }

    /// Tokens that no server has seen.
    pub fn fresh_tokens(&self, turn: &str, count: usize) -> Outcome<Vec<String>> {
        (0..count)
            .map(|index| sign(&self.signing_key, &format!("{turn}-{index}")))
            .collect()
    }
}

fn sign(key: &EncodingKey, id: &str) -> Outcome<String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|e| failed(&e))?
        .as_secs();
    let claims = serde_json::json!({ "server": "rails", "iat": now, "exp": now + 7200, "jti": id });
    jsonwebtoken::encode(&Header::new(Algorithm::ES256), &claims, key).map_err(|e| failed(&e))
}

/// A certificate for `localhost`, as files for servers, and a client that trusts it.
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client: TlsClient,
}

impl TlsFiles {
    pub fn new(dir: &Path) -> Outcome<Self> {
        let pair = rcgen::KeyPair::generate().map_err(|e| failed(&e))?;
        let signed = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|params| params.self_signed(&pair))
            .map_err(|e| failed(&e))?;
        let (certificate, key) = (dir.join("server.crt"), dir.join("server.key"));
        std::fs::write(&certificate, signed.pem()).map_err(|e| failed(&e))?;
        std::fs::write(&key, pair.serialize_pem()).map_err(|e| failed(&e))?;
        Ok(Self {
            client: TlsClient::new(&signed.pem())?,
            certificate,
            key,
        })
    }
}
