//! Offsets (section 8).

use std::fmt;

use super::BadInput;

const HALF: u64 = 10_000_000_000_000_000;
const HALF_DIGITS: usize = 16;

/// A position in a stream, as clients see it: two runs of 16 decimal digits, joined by `_`.
///
/// Fixed in width, so that offsets sort as text. The digits together are the
/// byte position; clients must not rely on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Offset(pub u64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}_{:016}", self.0 / HALF, self.0 % HALF)
    }
}

impl Offset {
    /// Reads an offset that a server gave out.
    ///
    /// # Errors
    /// Anything that is not exactly of the form that [`Offset`] displays.
    pub fn parse(name: &'static str, text: &str) -> Result<Self, BadInput> {
        let malformed = || BadInput::new(name, "not an offset that this server gave out");
        let (high, low) = text.split_once('_').ok_or_else(malformed)?;
        let half = |digits: &str| {
            let digits_only = digits.len() == HALF_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits_only.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let position = half(high)
            .ok_or_else(malformed)?
            .checked_mul(HALF)
            .ok_or_else(malformed)?;
        position
            .checked_add(half(low).ok_or_else(malformed)?)
            .map(Self)
            .ok_or_else(malformed)
    }
}

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// `-1`, or no offset: the first byte that is there.
    Beginning,
    /// `now`: behind everything that is there.
    Now,
    /// Behind what an earlier answer covered.
    At(Offset),
}

impl ReadFrom {
    /// Reads an `offset` parameter.
    ///
    /// # Errors
    /// Neither a sentinel nor an offset.
    pub fn parse(text: &str) -> Result<Self, BadInput> {
        match text {
            "" => Err(BadInput::new(
                "offset",
                "is empty; leave it out to read from the beginning",
            )),
            "-1" => Ok(Self::Beginning),
            "now" => Ok(Self::Now),
            text => Offset::parse("offset", text).map(Self::At),
        }
    }
}

#[cfg(test)]
mod tests;
