//! `[limits]` and `[retention]`: how much clients can make the server hold, and for how long.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    protocol::{RetentionPolicy, name::canonical},
    settings::{Data, Kind, Refusal, Setting, Value, section, text::did_you_mean},
};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;
const DAY_SECS: u64 = 86_400;

/// The engine's part of the configuration.
#[derive(Debug, Clone, Default)]
pub struct EngineConfig {
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `retention.rules`, see [`RetentionConfig::canonical_rules`].
    pub retention: Arc<[RetentionRule]>,
    /// `storage.cache_bytes`
    pub cache_bytes: u64,
}

section! {
    /// Bounds on what clients can make the server hold.
    pub struct LimitsConfig {
        /// Memory of the memory storage. 0: no limit.
        max_memory_bytes: u64 = 100 * MIB;
        /// Size of one stream; appends beyond it are refused with 413. 0: no limit. The Rails
        /// form's default with a data directory or a database is 0.
        max_stream_bytes: u64 = 10 * MIB;
        /// Number of streams, including those that keep subscriptions; more are refused with 507.
        /// 0: no limit.
        max_streams: u64 = 0;
        /// Size of a request body; a larger one is refused with 413.
        max_body_bytes: u64 = 10 * MIB, { min: 1 };
        /// Size of a request's head.
        max_header_bytes: usize = 32 * KIB, { min: 4096, why: "a token in a header or URL would not fit" };
        /// Open connections of both listeners together.
        max_connections: usize = 20_000, { min: 1 };
        /// Open connections of one client address (IPv6: one /64) to the public listener. Addresses
        /// of `proxy.trusted_proxies` are exempt. 0: no limit.
        max_connections_per_address: Option<usize> = None, { example: "5000", derived: "a quarter of max_connections" };
        /// Open long-polls and SSE reads.
        max_live_readers: usize = 15_000, { min: 1 };
        /// Live reads of one client token, or of all tokens with one `identity`; more are refused
        /// with 429. Server tokens are exempt. 0: no limit.
        max_live_readers_per_principal: Option<usize> = None, { example: "1500", derived: "a tenth of max_live_readers, at least 6" };
        /// Live reads of one client address (IPv6: one /64); more are refused with 429. Server
        /// tokens, the internal listener and `proxy.trusted_proxies` are exempt. 0: no limit.
        max_live_readers_per_address: Option<usize> = None, { example: "3750", derived: "a quarter of max_live_readers, at least 6" };
        /// Memory of request bodies at one moment, all connections together; more are refused with
        /// 503.
        max_inflight_bytes: u64 = 256 * MIB, { min: 1 };
        /// Nesting of arrays and objects in one JSON message; deeper ones are refused with 400.
        /// Readers see messages inside one more array, and common parsers stop at 100.
        max_json_depth: usize = 64, { min: 1, max: 1000 };
        /// Producers that a stream remembers, those of server tokens and those of client tokens
        /// counted apart. The least recently used is evicted first.
        max_producers_per_stream: usize = 1000, { min: 1, max: 100_000 };
        /// Memory of responses that clients have not taken yet, all connections together. Further
        /// reads wait, or are refused with 503.
        max_response_bytes: u64 = 256 * MIB, { min: 1 };
        /// Memory of such responses for one client address (IPv6: one /64) on the public listener. Addresses of
        /// `proxy.trusted_proxies` are exempt. 0: no limit.
        max_response_bytes_per_address: Option<u64> = None, { example: "134217728", derived: "a half of max_response_bytes" };
        /// Memory of such responses on one HTTP/2 connection.
        max_response_bytes_per_connection: u64 = 16 * MIB, { min: 1 };
        /// Size of one catch-up response; the next read continues from `Stream-Next-Offset`. A
        /// single larger message is sent whole. 0: everything up to the tail.
        max_read_bytes: u64 = 0;
    }
}

impl LimitsConfig {
    /// The share of one client address in `max_connections`.
    #[must_use]
    pub fn connections_per_address(&self) -> usize {
        let share = self.max_connections_per_address;
        or_unlimited(share.unwrap_or((self.max_connections / 4).max(MIN_CONNECTIONS)))
    }

    /// The share of one client address in `max_response_bytes`.
    #[must_use]
    pub fn response_bytes_per_address(&self) -> u64 {
        match self.max_response_bytes_per_address {
            None => self.max_response_bytes / 2,
            Some(0) => u64::MAX,
            Some(share) => share,
        }
    }

    /// The share of one principal in `max_live_readers`.
    #[must_use]
    pub fn live_readers_per_principal(&self) -> usize {
        let share = self.max_live_readers_per_principal;
        or_unlimited(share.unwrap_or((self.max_live_readers / 10).max(MIN_LIVE_READERS)))
    }

    /// The share of one client address in `max_live_readers`.
    #[must_use]
    pub fn live_readers_per_address(&self) -> usize {
        let share = self.max_live_readers_per_address;
        or_unlimited(share.unwrap_or((self.max_live_readers / 4).max(MIN_LIVE_READERS)))
    }
}

impl LimitsConfig {
    /// The size of a stream, if it is limited.
    pub(super) fn stream_bytes(&self) -> Option<u64> {
        non_zero(self.max_stream_bytes)
    }

    /// The number of streams, if it is limited.
    pub(super) fn streams(&self) -> Option<u64> {
        non_zero(self.max_streams)
    }

    /// The size of a catch-up response, if it is limited.
    pub(super) fn read_bytes(&self) -> Option<u64> {
        non_zero(self.max_read_bytes)
    }
}

fn non_zero(limit: u64) -> Option<u64> {
    (limit > 0).then_some(limit)
}

/// The connections that a browser opens to one host over HTTP/1.1.
const MIN_CONNECTIONS: usize = 6;
const MIN_LIVE_READERS: usize = 6;

/// A configured limit, where 0 is none.
fn or_unlimited(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

section! {
    /// How long streams keep their data, unless they were created with `Stream-Retention-Age` or
    /// `Stream-Retention-Bytes`.
    pub struct RetentionConfig {
        /// Rules by stream name; the first that matches applies. `*` matches any run of characters.
        /// Without a rule a stream keeps everything.
        rules: Vec<RetentionRule> = Vec::new(), {
            example: "[{ streams = \"gid://app/Room/*\", max_age_secs = 604800, max_bytes = 10485760 }]",
        };
    }
}

impl RetentionConfig {
    /// The rules with their names in the form that streams are compared in.
    #[must_use]
    pub fn canonical_rules(&self) -> Arc<[RetentionRule]> {
        let rules = self.rules.iter().map(|rule| RetentionRule {
            streams: canonical(&rule.streams).into_owned(),
            max_age_secs: rule.max_age_secs,
            max_bytes: rule.max_bytes,
        });
        rules.collect()
    }
}

/// One of `retention.rules`, such as
/// `{ streams = "gid://app/Room/*", max_age_secs = 604800, max_bytes = 10485760 }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRule {
    /// A stream's name, in which `*` matches any run of characters.
    pub streams: String,
    /// Data older than this is removed. `None`: age does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_secs: Option<u64>,
    /// Data further than this from the tail is removed. `None`: size does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

impl Setting for RetentionRule {
    const KIND: Kind = Kind::Rule;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        Self::parse(&value.data).map_err(|refusal| vec![refusal])
    }
}

impl RetentionRule {
    pub(super) fn policy(&self) -> RetentionPolicy {
        RetentionPolicy {
            max_age_secs: self.max_age_secs,
            max_bytes: self.max_bytes,
        }
    }

    const KEYS: [&str; 3] = ["streams", "max_age_secs", "max_bytes"];

    fn parse(data: &Data) -> Result<Self, Refusal> {
        let Data::Table(table) = data else {
            let expected = format!("rules such as {{ streams = \"logs/*\", max_age_secs = {DAY_SECS} }}");
            return Err(Refusal::wrong_type(data, &expected));
        };
        if let Some(unknown) = table.keys().find(|key| !Self::KEYS.contains(&key.as_str())) {
            let hint = did_you_mean(unknown, Self::KEYS);
            return Err(Refusal::load(format!(
                "a rule has no key {unknown:?}{hint}; it has {}",
                Self::KEYS.join(", ")
            )));
        }
        let field = |key: &str| table.get(key).filter(|value| value.data != Data::Null);
        let limit = |key: &str| match field(key).map(u64::read).transpose() {
            Ok(Some(0)) => Err(Refusal::load(format!(
                "{key}: must be at least 1; omit it for no limit"
            ))),
            Ok(limit) => Ok(limit),
            Err(refusals) => Err(within(key, refusals)),
        };
        let streams = field("streams").ok_or_else(|| Refusal::load("a rule needs `streams`, such as \"logs/*\""))?;
        let rule = Self {
            streams: String::read(streams).map_err(|refusals| within("streams", refusals))?,
            max_age_secs: limit("max_age_secs")?,
            max_bytes: limit("max_bytes")?,
        };
        if rule.max_age_secs.is_none() && rule.max_bytes.is_none() {
            return Err(Refusal::load("a rule needs `max_age_secs`, `max_bytes` or both"));
        }
        Ok(rule)
    }
}

fn within(key: &str, refusals: Vec<Refusal>) -> Refusal {
    let messages: Vec<String> = refusals.into_iter().map(|refusal| refusal.message).collect();
    Refusal::load(format!("{key}: {}", messages.join("; ")))
}
