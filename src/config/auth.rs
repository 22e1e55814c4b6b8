use std::path::PathBuf;

use super::schema::{choices, section};

/// `auth.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMode {
    /// `jwt`: every request carries an ES256 token. The default where `[auth]` is given.
    #[default]
    Jwt,
    /// `none`: an open server, written down on purpose.
    None,
}

/// `[auth]`: token verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// `auth.mode`. Default `jwt`.
    pub mode: AuthMode,
    /// `auth.verify_key`: a PEM file with one or several public keys, a directory of
    /// them, or a JWKS file. Required in mode `jwt`.
    pub verify_key: PathBuf,
    /// `auth.issuer`: a string or a list; when given, a token's `iss` must be one of these.
    pub issuer: Vec<String>,
    /// `auth.audience`: a string or a list; when given, a token's `aud` must hold one of these.
    pub audience: Vec<String>,
    /// `auth.leeway_secs`: tolerated clock difference. Default 5.
    pub leeway_secs: u64,
    /// `auth.cache_size`: how many verified tokens are remembered. Default 10000.
    pub cache_size: usize,
    /// `auth.max_failures_per_minute`: how many tokens of one client address may fail to verify
    /// in a minute, and how often one token may be refused (403), before further ones are
    /// answered 429. Default 240; 0: any number.
    pub max_failures_per_minute: u32,
    /// `auth.reload_secs`: how often the key files are looked at for changes. Default 2.
    pub reload_secs: u64,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: AuthMode::Jwt,
            verify_key: PathBuf::new(),
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway_secs: 5,
            cache_size: 10_000,
            max_failures_per_minute: 240,
            reload_secs: 2,
        }
    }
}

section!(AuthConfig {
    mode,
    verify_key,
    issuer,
    audience,
    leeway_secs,
    cache_size,
    max_failures_per_minute,
    reload_secs,
});
choices!(AuthMode {
    Jwt = "jwt",
    None = "none",
});
