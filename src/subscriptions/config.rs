//! `[subscriptions]`.

use crate::settings::section;

section! {
    /// Subscriptions: durable cursors that wake workers.
    pub struct SubscriptionsConfig {
        /// Whether subscriptions can be created and are delivered. Stored ones are kept either way.
        enabled: bool = true;
        /// Scheme, host and port under which workers and receivers reach this server, without the
        /// base path.
        public_url: Option<String> = None, {
            example: "\"https://streams.example.com\"",
            derived: "http.public_url or the domain, else as the request that creates a subscription was addressed",
        };
        /// Number of subscriptions; more are refused with 507.
        max_subscriptions: usize = 10_000, { min: 1 };
        /// Streams linked to one subscription; more are refused with 507.
        max_links_per_subscription: usize = 100_000, { min: 1 };
        /// Streams linked to all subscriptions; more are refused with 507.
        max_links: usize = 1_000_000, { min: 1 };
    }
}
