//! Results of checking and copying a store.

use std::ops::ControlFlow;

/// The result of a check or a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// The number of streams.
    pub streams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The damage found, one sentence each.
    pub problems: Vec<String>,
}

/// Receives the state of a copy from time to time and decides whether it continues.
pub type CopyProgress<'p> = dyn FnMut(&StoreReport) -> ControlFlow<()> + 'p;
