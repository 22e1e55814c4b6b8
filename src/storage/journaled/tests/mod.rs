//! Tests beyond the contract: faults, formats, sizes.

mod faults;
mod formats;
mod legacy_names;
mod real;
mod sim;
mod sim_file;

use super::JournaledStore;
use crate::storage::{Storage, delegate_storage};

/// A store on a simulated disk.
#[derive(Debug)]
struct Simulated(JournaledStore);

impl Storage for Simulated {
    delegate_storage!(0: get, writers, list, due, read, commit, reserve_ids, maintain, usage);
}
