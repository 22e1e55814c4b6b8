//! How long a stream and its data live.

use serde::{Deserialize, Serialize};

use super::Millis;

/// How long a stream lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lifetime {
    /// Until it is deleted.
    Unlimited,
    /// For so many seconds after its last read or write.
    Ttl(u64),
    /// Until a moment.
    ExpiresAt(Millis),
}

/// How much of its past a stream keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionPolicy {
    /// What is older than so many seconds is given up; `None`: nothing is for its age.
    pub max_age_secs: Option<u64>,
    /// What lies further than so many bytes before the tail is given up.
    pub max_bytes: Option<u64>,
}
