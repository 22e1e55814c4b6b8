//! Key pairs and tokens for tests; it signs any input, valid or not.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://app.test";
pub const AUDIENCE: &str = "https://streams.test/v1/streams";
pub const STREAM: &str = "gid://app/Room/1/messages";

/// A token issuer. The same seed gives the same key pair.
#[derive(Clone)]
pub struct Issuer {
    key: SigningKey,
}

impl Issuer {
    pub fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).expect("a seed from 1 to 254");
        Self { key }
    }

    fn public(&self) -> p256::PublicKey {
        p256::PublicKey::from(self.key.verifying_key())
    }

    pub fn public_pem(&self) -> String {
        self.public().to_public_key_pem(LineEnding::LF).unwrap()
    }

    pub fn private_pem(&self) -> String {
        self.key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    }

    /// The public key as a JWK without `kid`.
    pub fn jwk(&self) -> Value {
        let point = self.public().to_sec1_bytes();
        json!({"kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65])})
    }

    /// A token with this header and these claims, which need not be valid JSON.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.to_bytes()))
    }

    /// As [`Issuer::sign`] with a DER signature, which `OpenSSL` produces and JWS forbids.
    pub fn sign_in_der(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature: Signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.to_der().as_bytes()))
    }

    pub fn token(&self, claims: &Value) -> String {
        self.sign(r#"{"alg":"ES256","typ":"JWT"}"#, &claims.to_string())
    }

    pub fn token_with_kid(&self, kid: &str, claims: &Value) -> String {
        self.sign(&json!({"alg": "ES256", "kid": kid}).to_string(), &claims.to_string())
    }
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The claims of a client token, valid for 15 minutes from `now`.
pub fn client(now: u64, stream: &str, permissions: &[&str]) -> Value {
    json!({
        "stream": stream, "permissions": permissions, "identity": "7",
        "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 900,
    })
}

/// The claims of a server token, valid for 2 minutes from `now`.
pub fn server(now: u64) -> Value {
    json!({"server": "rails", "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 120})
}

/// `claims` with one of them set, or removed for `None`.
pub fn with(mut claims: Value, name: &str, value: impl Into<Option<Value>>) -> Value {
    let map = claims.as_object_mut().expect("claims are an object");
    match value.into() {
        Some(value) => _ = map.insert(name.to_owned(), value),
        None => _ = map.remove(name),
    }
    claims
}
