//! Reproducible random numbers.

use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

#[derive(Debug)]
pub struct TestRng(StdRng);

impl TestRng {
    pub fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0.random_range(0..limit.max(1))
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// Mostly small, sometimes larger than an index row, occasionally large enough for a data file.
    pub fn size(&mut self) -> usize {
        let size = match self.below(40) {
            0 => 65_000 + self.below(80_000),
            1..=5 => self.below(6_000),
            _ => self.below(200),
        };
        usize::try_from(size).expect("a small number")
    }

    pub fn pick<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        let at = usize::try_from(self.below(from.len() as u64)).expect("an index");
        from.get(at)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
