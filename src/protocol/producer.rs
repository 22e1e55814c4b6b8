//! Idempotent producers (section 5.2.1).

use serde::{Deserialize, Serialize};

/// One request of one producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerStamp {
    /// `Producer-Id`
    pub id: String,
    /// `Producer-Epoch`
    pub epoch: u64,
    /// `Producer-Seq`
    pub seq: u64,
}
