use super::schema::{choices, section};

/// `http.cache`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CachePolicy {
    /// Not written down: `private` with the gate on; with it off everybody may keep responses,
    /// and asks again before each use.
    #[default]
    Auto,
    /// `private`: no shared cache may store a response, and the reader's own asks again before
    /// each use.
    Private,
    /// `public`: caches may answer for up to 6 minutes without asking. With the gate on only
    /// where the token is in the URL, by which a cache keeps answers.
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
    /// `http.cache`: who may cache reads. Default `auto`.
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
