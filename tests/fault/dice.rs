//! Chance that can be repeated.

use super::support;

/// A generator of numbers (`SplitMix64`); the same seed gives the same.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `DS_TEST_SEED`, or what the clock gives.
    pub fn seed() -> u64 {
        super::amount("DS_TEST_SEED", support::now() * 1_000_003)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// Mostly little, sometimes more than fits into a row of the index, and now and then so much
    /// that a stream gets a data file.
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
