use super::schema::{choices, section};

/// `http.cache`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CachePolicy {
    /// Not written down: `private` with the gate on, `public` with it off.
    #[default]
    Auto,
    /// `private`: no shared cache may store a response.
    Private,
    /// `public`: for CDNs whose cache key holds the token.
    Public,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// `http.cors_origins`: `*`, or a comma-separated list of origins. Default `*`.
    pub cors_origins: String,
    /// `http.stream_base_path`: where the protocol is mounted. Default `/v1/stream`
    /// (the Rails form's default is `/v1/streams`).
    pub stream_base_path: String,
    /// `http.cache`: who may cache reads. Default: `private` with the gate on, else `public`.
    pub cache: CachePolicy,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            cors_origins: "*".into(),
            stream_base_path: "/v1/stream".into(),
            cache: CachePolicy::Auto,
        }
    }
}

section!(HttpConfig {
    cors_origins,
    stream_base_path,
    cache,
});
choices!(CachePolicy {
    Auto = "auto",
    Private = "private",
    Public = "public",
});
