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
    /// `http.public_url`: scheme, host and port by which clients reach the server, such as
    /// `https://streams.example.com`, for `Location`. Default: that of `transport.acme.domain`,
    /// else what a trusted proxy says, else `Location` is a path. The `Host` of a request is
    /// used only where it names the client's own machine or network.
    pub public_url: Option<String>,
    /// `http.cache`: who may cache reads. Default `auto`.
    pub cache: CachePolicy,
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

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            cors_origins: "*".into(),
            stream_base_path: "/v1/stream".into(),
            public_url: None,
            cache: CachePolicy::Auto,
        }
    }
}

section!(HttpConfig {
    cors_origins,
    stream_base_path,
    public_url,
    cache,
});
choices!(CachePolicy {
    Auto = "auto",
    Private = "private",
    Public = "public",
});
