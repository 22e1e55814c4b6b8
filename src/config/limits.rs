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
    /// `limits.max_live_readers`: open long-polls and SSE reads. Default 15000.
    pub max_live_readers: usize,
    /// `limits.max_inflight_bytes`: request bodies held at one moment, all connections
    /// together; more is answered with 503. Default 268435456 (256 MiB).
    pub max_inflight_bytes: u64,
    /// `limits.max_read_bytes`: the most that one read answers; the next one goes on from
    /// `Stream-Next-Offset`. A larger single message is answered whole. Default 0: no limit.
    pub max_read_bytes: u64,
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
            max_live_readers: 15_000,
            max_inflight_bytes: 256 * 1024 * 1024,
            max_read_bytes: 0,
        }
    }
}

section!(LimitsConfig {
    max_memory_bytes,
    max_stream_bytes,
    max_streams,
    max_body_bytes,
    max_header_bytes,
    max_connections,
    max_live_readers,
    max_inflight_bytes,
    max_read_bytes,
});
