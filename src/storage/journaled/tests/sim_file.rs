//! A file of the simulated disk: its content in the cache and on the disk.

use std::collections::BTreeSet;

use crate::storage::contract::Driver;

const SECTOR: usize = 512;

#[derive(Debug)]
pub(super) enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

/// The fate of an unsynced operation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Luck {
    Kept,
    Torn,
    Gone,
}

impl Luck {
    pub(super) fn draw(rng: &mut Driver) -> Self {
        match rng.below(10) {
            0..4 => Self::Gone,
            4..7 => Self::Torn,
            _ => Self::Kept,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct SimFile {
    /// The bytes that reads return.
    pub(super) cache: Vec<u8>,
    /// The bytes that survive a power failure in any case.
    pub(super) disk: Vec<u8>,
    /// Unsynced operations, each with its number among all operations.
    pub(super) pending: Vec<(u64, Op)>,
    /// Whether the directory entry is on disk.
    pub(super) linked: bool,
    /// The number of the operation that created it.
    pub(super) created: u64,
    /// The blocks that were written. A file may have holes.
    pub(super) blocks: BTreeSet<usize>,
}

pub(super) const BLOCK: usize = 4096;

impl SimFile {
    pub(super) fn new_blocks(&self, at: usize, len: usize) -> usize {
        (at / BLOCK..(at + len).div_ceil(BLOCK))
            .filter(|block| !self.blocks.contains(block))
            .count()
    }

    pub(super) fn reach_disk(&mut self, op: Op, luck: Luck, rng: &mut Driver) {
        match (op, luck) {
            (_, Luck::Gone) => {}
            (Op::SetLen(len), _) => self.disk.resize(len, 0),
            (Op::Write(at, data), Luck::Kept) => write_into(&mut self.disk, at, &data),
            (Op::Write(at, data), Luck::Torn) => {
                // Each sector is written or not.
                let mut from = 0;
                while from < data.len() {
                    let to = ((at + from) / SECTOR * SECTOR + SECTOR - at).min(data.len());
                    if rng.below(2) == 0 {
                        write_into(&mut self.disk, at + from, &data[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

pub(super) fn write_into(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    if content.len() < at + data.len() {
        content.resize(at + data.len(), 0);
    }
    content[at..at + data.len()].copy_from_slice(data);
}
