use super::schema::section;

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// `limits.max_memory_bytes`: what the memory backend may hold. Default 104857600 (100 MiB). 0: no limit.
    pub max_memory_bytes: u64,
    /// `limits.max_stream_bytes`: what one stream may hold. Default 10485760 (10 MiB). 0: no limit.
    pub max_stream_bytes: u64,
    /// `limits.max_streams`: how many streams there may be. Default 0: no limit.
    pub max_streams: u64,
    /// `limits.max_body_bytes`: the largest request body. Default 10485760 (10 MiB).
    pub max_body_bytes: u64,
    /// `limits.max_header_bytes`: the largest request head. Default 32768.
    pub max_header_bytes: usize,
    /// `limits.max_connections`: open connections of both listeners together. Default 20000.
    pub max_connections: usize,
    /// `limits.max_connections_per_address`: open connections of one client address to the public
    /// listener (IPv6: of one /64). Addresses of `proxy.trusted_proxies` are exempt. Default: a
    /// quarter of `max_connections`. 0: no limit.
    pub max_connections_per_address: Option<usize>,
    /// `limits.max_live_readers`: open long-polls and SSE reads. Default 15000.
    pub max_live_readers: usize,
    /// `limits.max_live_readers_per_principal`: those of one client token, or of all client tokens
    /// with the same `identity`; more is answered with 429. Server tokens are exempt. Default: a
    /// tenth of `max_live_readers`, at least 6. 0: no limit.
    pub max_live_readers_per_principal: Option<usize>,
    /// `limits.max_live_readers_per_address`: those of one client address (IPv6: of one /64);
    /// more is answered with 429. Server tokens, the internal listener and addresses of
    /// `proxy.trusted_proxies` are exempt. Default: a quarter of `max_live_readers`, at least 6.
    /// 0: no limit.
    pub max_live_readers_per_address: Option<usize>,
    /// `limits.max_inflight_bytes`: memory of request bodies at one moment, all connections
    /// together; more is answered with 503. Default 268435456 (256 MiB).
    pub max_inflight_bytes: u64,
    /// `limits.max_response_bytes`: memory of responses that their clients have not taken yet, all
    /// connections together; more waits, or is answered with 503. Default 268435456 (256 MiB).
    pub max_response_bytes: u64,
    /// `limits.max_response_bytes_per_address`: the same for one client address (IPv6: one /64) on
    /// the public listener, `proxy.trusted_proxies` exempt. Default: a half of
    /// `max_response_bytes`. 0: no limit.
    pub max_response_bytes_per_address: Option<u64>,
    /// `limits.max_response_bytes_per_connection`: the same for one HTTP/2 connection. Default 16777216
    /// (16 MiB).
    pub max_response_bytes_per_connection: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_memory_bytes: 100 * 1024 * 1024,
            max_stream_bytes: 10 * 1024 * 1024,
            max_streams: 0,
            max_body_bytes: 10 * 1024 * 1024,
            max_header_bytes: 32 * 1024,
            max_connections: 20_000,
            max_connections_per_address: None,
            max_live_readers: 15_000,
            max_live_readers_per_principal: None,
            max_live_readers_per_address: None,
            max_inflight_bytes: 256 * 1024 * 1024,
            max_response_bytes: 256 * 1024 * 1024,
            max_response_bytes_per_address: None,
            max_response_bytes_per_connection: 16 * 1024 * 1024,
        }
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

/// The connections that a browser opens to one host over HTTP/1.1.
const MIN_CONNECTIONS: usize = 6;
const MIN_LIVE_READERS: usize = 6;

/// A limit as it is configured, where 0 is none.
fn or_unlimited(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
}

section!(LimitsConfig {
    max_memory_bytes,
    max_stream_bytes,
    max_streams,
    max_body_bytes,
    max_header_bytes,
    max_connections,
    max_connections_per_address,
    max_live_readers,
    max_live_readers_per_principal,
    max_live_readers_per_address,
    max_inflight_bytes,
    max_response_bytes,
    max_response_bytes_per_address,
    max_response_bytes_per_connection,
});
