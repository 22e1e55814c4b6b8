//! Random numbers that can be replayed.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::support;

/// A seeded generator.
#[derive(Debug)]
pub struct TestRng(StdRng);

impl TestRng {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// `DS_TEST_SEED`, or the time.
    pub fn seed() -> u64 {
        super::amount("DS_TEST_SEED", support::now() * 1_000_003)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.random_range(0..limit.max(1))
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// A size: mostly small, sometimes larger than a row of the index, and occasionally large enough
    /// for a data file.
    pub fn size(&mut self) -> usize {
        let size = match self.below(40) {
            0 => 65_000 + self.below(80_000),
            1..=5 => self.below(6_000),
            _ => self.below(200),
        };
        usize::try_from(size).unwrap()
    }

    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        let at = usize::try_from(self.below(from.len() as u64)).unwrap();
        from.get(at)
    }
}
