//! How long a stream and its data live.

use serde::{Deserialize, Serialize};

use super::Millis;

/// How long a stream lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifetime {
    /// Until it is deleted.
    Unlimited,
    /// For a number of seconds after its last read or write.
    Ttl(u64),
    /// Until a point in time.
    ExpiresAt(Millis),
}

/// How much data a stream keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionPolicy {
    /// Maximum age in seconds; `None` disables age retention.
    pub max_age_secs: Option<u64>,
    /// Maximum size in bytes; `None` disables size retention.
    pub max_bytes: Option<u64>,
}
