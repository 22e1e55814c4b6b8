//! `[auth]`: how tokens are verified.

use std::{path::PathBuf, time::Duration};

use crate::settings::{choices, section};

choices! {
    /// `auth.mode`
    #[derive(Default)]
    pub enum AuthMode {
        /// Every request carries an ES256 token.
        #[default]
        Jwt = "jwt",
        /// An open server, on purpose.
        None = "none",
    }
}

section! {
    /// Token verification. Absent by default: an open server.
    pub struct AuthConfig {
        /// Whether requests need an ES256 token; "none" is an open server.
        mode: AuthMode = AuthMode::Jwt;
        /// Public keys: a PEM file with one or several, a directory of them, or a JWKS file.
        /// Required in mode jwt.
        verify_key: PathBuf = PathBuf::new(), { example: "\"config/verify_key.pem\"" };
        /// Accepted issuers, a string or a list. When given, a token's `iss` must be one of them.
        issuer: Vec<String> = Vec::new(), { never_empty: true, example: "\"https://app.example.com\"", derived: "not checked" };
        /// Accepted audiences, a string or a list. When given, a token's `aud` must hold one of
        /// them.
        audience: Vec<String> = Vec::new(), { never_empty: true, example: "\"https://streams.example.com/v1/stream\"", derived: "not checked" };
        /// Tolerated clock difference.
        leeway_secs: u64 = 5, { max: 300, why: "expired tokens would be accepted for that long" };
        /// Verified tokens to remember.
        cache_size: usize = 10_000;
        /// Tokens of one client address that may fail to verify in a minute, tokens of
        /// subscriptions that it may send in vain, and refusals (403) of one token, before further
        /// ones get 429. 0: no limit.
        max_failures_per_minute: u32 = 240;
        /// How often the key files are checked for changes.
        reload_secs: u64 = 2, { min: 1 };
    }
}

impl AuthConfig {
    /// `reload_secs`
    pub(super) fn reload_interval(&self) -> Duration {
        Duration::from_secs(self.reload_secs.max(1))
    }
}
