//! The configuration: one small struct and file per section, every default
//! written where its field stands.

mod auth;
mod http;
mod internal;
mod limits;
mod observability;
mod proxy;
mod retention;
mod server;
mod storage;
mod transport;

mod erb;
mod legacy;
mod problem;
mod rails_yaml;
mod reader;
mod render;
mod scalar;
mod schema;
mod sources;
mod toml_file;
mod validate;
mod value;
mod variables;
mod yaml;

#[cfg(test)]
mod tests;

pub use auth::{AuthConfig, AuthMode};
pub use http::{CachePolicy, HttpConfig};
pub use internal::InternalConfig;
pub use limits::LimitsConfig;
pub use observability::{LogFormat, ObservabilityConfig};
pub use problem::{LoadError, Problem, Stage, Warning};
pub use proxy::{ForwardedHeaders, IdentityConfig, IdentityMode, ProxyConfig};
pub use retention::{RetentionConfig, RetentionRule};
pub use server::ServerConfig;
pub use sources::{ConfigLoadOptions, Loaded, Origins};
pub use storage::{StorageConfig, StorageMode};
pub use transport::{
    AcmeConfig, ConnectionConfig, HttpVersion, HttpVersions, TlsConfig, TlsVersion, TransportConfig, TransportMode,
};
pub use value::Origin;

use schema::section;

/// The whole configuration of one server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// The public listener's address.
    pub server: ServerConfig,
    /// How that listener speaks: plain HTTP, TLS or mutual TLS.
    pub transport: TransportConfig,
    /// The plain-HTTP listener for the app servers; absent by default.
    pub internal: Option<InternalConfig>,
    /// Who may do what; absent means an open server.
    pub auth: Option<AuthConfig>,
    /// Paths, CORS and caching.
    pub http: HttpConfig,
    /// Bounds on what clients can make the server hold.
    pub limits: LimitsConfig,
    /// Where streams are kept.
    pub storage: StorageConfig,
    /// How much of their past they keep.
    pub retention: RetentionConfig,
    /// Which proxies are believed.
    pub proxy: ProxyConfig,
    /// Logs.
    pub observability: ObservabilityConfig,
}

section!(Config {
    server,
    transport,
    internal,
    auth,
    http,
    limits,
    storage,
    retention,
    proxy,
    observability,
});
