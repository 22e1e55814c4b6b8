//! Idempotent producers (section 5.2.1).

use serde::{Deserialize, Serialize};

/// One request of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerStamp {
    /// The producer: `Producer-Id`.
    pub id: String,
    /// Its epoch, incremented on restart: `Producer-Epoch`.
    pub epoch: u64,
    /// Its request sequence number: `Producer-Seq`.
    pub seq: u64,
}
