//! Tokens and keys.

use std::sync::OnceLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{config::with_file, header_lines, split_at};
use crate::{
    auth::{
        KeySet, candidates,
        token::{MAX_TOKEN_BYTES, Token},
    },
    config::AuthConfig,
};

/// A public key whose private half was thrown away.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEiGefhQDiHV7pIc7PUAKjHi2l5jqi
qCeUyXEKtgwrYNaka9nCiQgXQ5K8Jo2672TFfBYkgFD6emI3UuwHNYGWeg==
-----END PUBLIC KEY-----
";

/// The tokens of a request, and tokens: the input itself, and the input as header and claims, which
/// reaches the code after the base64. A NUL separates the parts.
pub fn tokens(data: &[u8]) {
    let (first, second) = split_at(data, 0).unwrap_or((data, b"{}"));
    if let (Ok(query), headers) = (std::str::from_utf8(first), header_lines([second].into_iter())) {
        for token in candidates(Some(query), &headers).unwrap_or_default() {
            judge(&token);
        }
    }
    if let Ok(token) = std::str::from_utf8(data) {
        judge(token);
    }
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signature = encode(&[7; 64]);
    judge(&format!("{}.{}.{signature}", encode(first), encode(second)));
    judge(&format!(
        "{}.{}.{signature}",
        encode(br#"{"alg":"ES256"}"#),
        encode(first)
    ));
}

fn judge(text: &str) {
    let Ok(token) = Token::parse(text) else { return };
    assert!(text.len() <= MAX_TOKEN_BYTES);
    assert!(token.signer(key_set()).is_err(), "a signature was forged");
    let Ok(claims) = token.claims() else { return };
    let expires = claims.exp;
    let now = 1_800_000_000;
    let no_leeway = AuthConfig {
        leeway_secs: 0,
        ..AuthConfig::default()
    };
    if let Ok(verified) = claims.accept(&no_leeway, now) {
        assert!(verified.expires_at() > now);
        assert_eq!(i64::try_from(verified.expires_at()), Ok(expires));
    }
}

fn key_set() -> &'static KeySet {
    static KEYS: OnceLock<KeySet> = OnceLock::new();
    KEYS.get_or_init(|| {
        with_file("token-key.pem", PUBLIC_KEY.as_bytes(), |path| {
            KeySet::load(path).unwrap()
        })
    })
}

/// A file of `auth.verify_key`: PEM or JWKS.
pub fn keys(data: &[u8]) {
    with_file("keys.pem", data, |path| match KeySet::load(path) {
        Ok(keys) => {
            assert!(!keys.is_empty());
            for key in keys.keys() {
                assert_eq!(key.thumbprint().len(), 43);
            }
        }
        Err(error) => assert!(error.to_string().len() < 100_000),
    });
}
