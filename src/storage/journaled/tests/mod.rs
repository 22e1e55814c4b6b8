//! What the contract does not ask: faults, formats, figures.

mod faults;
mod legacy_names;
mod real;
mod sim;

use std::{ops::Range, path::Path};

use bytes::Bytes;

use super::JournaledStore;
use crate::{
    config::StorageMode,
    protocol::{Millis, StreamName},
    storage::{Change, CommitError, Position, Storage, StorageError, Stored, StreamId, Usage, WriterState, tools},
};

/// The core as a store of its own.
#[derive(Debug)]
struct Simulated(JournaledStore);

delegate_storage!(Simulated, StorageMode::Acid);
