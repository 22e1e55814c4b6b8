//! What the contract does not ask: faults, formats, figures.

mod faults;
mod former;
mod real;
mod sim;

use std::{ops::Range, path::Path};

use bytes::Bytes;

use super::JournaledStore;
use crate::{
    config::StorageMode,
    protocol::{Millis, StreamName},
    storage::{
        CommitError, Group, Position, Storage, StorageError, Stored, StreamId, Usage, Verdicts, WriterState,
        commit_as_one, tools,
    },
};

/// The core as a store of its own.
#[derive(Debug)]
struct Simulated(JournaledStore);

delegate_storage!(Simulated, StorageMode::Acid);
