//! `[http]`: paths, CORS and caching.

use crate::settings::{choices, section};

choices! {
    /// `http.cache`
    #[derive(Default)]
    pub enum CachePolicy {
        /// `private` with authentication; without it, caches may store responses and revalidate
        /// before each use.
        #[default]
        Auto = "auto",
        /// Shared caches store nothing, and the reader's own revalidates before each use.
        Private = "private",
        /// Caches may answer for up to 6 minutes without asking. With authentication only where the
        /// token is in the URL, which is a cache's key.
        Public = "public",
    }
}

section! {
    /// Paths, CORS and caching.
    pub struct HttpConfig {
        /// Origins of the pages that may call the server: "*", or a comma-separated list.
        cors_origins: String = "*".into(), { never_empty: true };
        /// How long browsers may remember a preflight's answer. Chromium remembers it for at most two
        /// hours.
        cors_max_age_secs: u32 = 86_400;
        /// Path of the protocol. The Rails form's default is `/v1/streams`.
        stream_base_path: String = "/v1/stream".into(), { rails: "route" };
        /// Scheme, host and port by which clients reach the server, for `Location`. Without it, a
        /// relative `Location` is sent unless `transport.acme.domain` or a trusted proxy names the
        /// host.
        public_url: Option<String> = None, { example: "\"https://streams.example.com\"" };
        /// Who may cache reads; see docs/limits.md.
        cache: CachePolicy = CachePolicy::Auto;
    }
}

impl HttpConfig {
    /// The origin for `Location`; `None`: derived from the request.
    #[must_use]
    pub(crate) fn origin(&self, domain: Option<&str>, port: u16) -> Option<String> {
        let automatic = || match (domain?, port) {
            (domain, 443) => Some(format!("https://{domain}")),
            (domain, port) => Some(format!("https://{domain}:{port}")),
        };
        self.public_url.clone().or_else(automatic)
    }
}
