//! [`Config`]: all sections together.

use std::time::Duration;

use crate::{
    auth::AuthConfig,
    engine::{EngineConfig, LimitsConfig, RetentionConfig},
    http::{self, HttpConfig, ShutdownConfig},
    listener::{InternalConfig, ServerConfig, TransportConfig},
    proxy::ProxyConfig,
    settings::section,
    storage::StorageConfig,
    subscriptions::SubscriptionsConfig,
    telemetry::ObservabilityConfig,
    webhook::WebhooksConfig,
};

section! {
    /// The whole configuration of one server.
    pub struct Config {
    }
    sections {
        /// The public listener.
        server: ServerConfig,
        /// How the public listener speaks.
        transport: TransportConfig,
        /// The plain-HTTP listener for the app servers.
        internal: Option<InternalConfig>,
        /// Token verification; absent means an open server.
        auth: Option<AuthConfig>,
        /// Paths, CORS and caching.
        http: HttpConfig,
        /// Bounds on what clients can make the server hold.
        limits: LimitsConfig,
        /// Where streams are kept.
        storage: StorageConfig,
        /// How long streams keep their data.
        retention: RetentionConfig,
        /// Durable cursors that wake workers.
        subscriptions: SubscriptionsConfig,
        /// Calls of webhook receivers.
        webhooks: WebhooksConfig,
        /// Proxies whose forwarding headers are trusted.
        proxy: ProxyConfig,
        /// The beginning of a stop, and the end of live reads.
        shutdown: ShutdownConfig,
        /// The log.
        observability: ObservabilityConfig,
    }
}

impl Config {
    /// The engine's part.
    pub(crate) fn engine(&self) -> EngineConfig {
        EngineConfig {
            limits: self.limits.clone(),
            retention: self.retention.canonical_rules(),
            cache_bytes: self.storage.cache_bytes,
        }
    }

    /// The handlers' part.
    pub(crate) fn http_settings(&self) -> http::Settings {
        let domain = self.transport.acme.domain.as_deref();
        http::Settings {
            http: self.http.clone(),
            limits: self.limits.clone(),
            connection: self.transport.connection.clone(),
            proxy: self.proxy.clone(),
            spread: self
                .shutdown
                .spread(Duration::from_secs(self.server.drain_timeout_secs)),
            subscriptions_url: self.subscriptions.public_url.clone(),
            origin: self.http.origin(domain, self.server.bind_address.port()),
        }
    }
}
