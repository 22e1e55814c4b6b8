//! `[webhooks]`: which receivers the server may call, and how long and how often.

use std::{path::PathBuf, time::Duration};

use super::AllowedHost;
use crate::settings::section;

section! {
    /// Calls of webhook receivers.
    pub struct WebhooksConfig {
        /// Whether `http://localhost` and `http://127.0.0.x` are accepted as receivers, for
        /// development. All others need `https`.
        allow_local_http: bool = false;
        /// The only receivers that webhooks may reach: host names, "*." and a domain, IP addresses
        /// or CIDR blocks. A host in a private network is reached only if
        /// its name, its address or its network is listed.
        allowed_hosts: Vec<AllowedHost> = Vec::new(), { never_empty: true, example: "[\"app.example.com\", \"10.0.0.5\"]", derived: "every public host" };
        /// Certificates of CAs that are trusted for receivers, in addition to the public ones, in
        /// PEM.
        extra_ca_path: Option<PathBuf> = None, { example: "\"/etc/durable-streams/webhook-ca.crt\"" };
        /// How long a receiver has for its whole response, from the resolution of its name to the
        /// last byte.
        timeout_secs: u64 = 30, { min: 1, max: 300, why: "the lease of a wake lasts at most ten minutes" };
        /// Deliveries at a time.
        max_in_flight: usize = 64, { min: 1, max: 10_000 };
        /// Deliveries at a time to one host; further ones wait. Keep it well below `max_in_flight`, so that a slow host
        /// leaves room for the others. The last eighth of those is for hosts that have none.
        max_in_flight_per_target: usize = 8, { min: 1, max: 10_000 };
        /// Bytes of a response's body that are read. A longer one is cut off and counts as an
        /// acceptance without `done`.
        max_response_bytes: usize = 64 * 1024, { min: 64, max: 16 * 1024 * 1024 };
        /// Days after which a new key signs. The old one stays published for an hour. 0: never.
        key_rotation_days: u64 = 90, { max: 36_500 };
    }
}

impl WebhooksConfig {
    /// `timeout_secs`
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs.max(1))
    }

    /// `key_rotation_days`; `None`: never.
    #[must_use]
    pub fn key_rotation(&self) -> Option<Duration> {
        (self.key_rotation_days > 0).then(|| Duration::from_secs(self.key_rotation_days.saturating_mul(86_400)))
    }
}
