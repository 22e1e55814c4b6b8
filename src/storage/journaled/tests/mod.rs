//! Tests beyond the contract: faults, formats, sizes.

mod faults;
mod formats;
mod legacy_names;
mod real;
mod sim;
mod sim_file;

use super::JournaledStore;
use crate::storage::{CommitError, Group, Storage, Verdicts, commit_as_one, delegate_storage};

/// A store on a simulated disk.
#[derive(Debug)]
struct Simulated(JournaledStore);

impl Storage for Simulated {
    delegate_storage!(0: get, writers, list, due, read, reserve_ids, maintain, needs_maintenance, usage);

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        commit_as_one(groups, |changes| self.0.commit(changes))
    }
}
