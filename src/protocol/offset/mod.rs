//! Offsets (section 8).

use std::fmt;

use super::BadInput;

const DIGITS: usize = 16;
/// Positions are written with an additional decimal digit that is ignored when read, because some
/// clients add one to an offset.
const UNIT: u64 = 10;

/// A position in one life of a stream. Clients see the incarnation and the position, each as 16
/// decimal digits, joined by `_`.
///
/// The width is fixed, so that offsets of one stream sort as text. Offsets are opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset {
    /// The life of the stream that issued the offset. A stream that is deleted and created again
    /// has a greater one.
    pub incarnation: u64,
    /// The position in the stored bytes.
    pub position: u64,
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.position.saturating_mul(UNIT);
        let mut text = [b'_'; Self::TEXT_BYTES];
        let (before, after) = text.split_at_mut(DIGITS);
        let fits = put_digits(before, self.incarnation) && put_digits(after.split_at_mut(1).1, digits);
        match std::str::from_utf8(&text) {
            Ok(text) if fits => f.write_str(text),
            _ => write!(f, "{:0DIGITS$}_{digits:0DIGITS$}", self.incarnation),
        }
    }
}

/// Fills `place` with a zero-padded number; `false` if it does not fit. Every response has an
/// offset, and the formatter's padding costs several times as much.
fn put_digits(place: &mut [u8], number: u64) -> bool {
    let mut rest = number;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    rest == 0
}

impl Offset {
    /// The first position of a stream in any life; equal to `-1` (section 8).
    pub const BEGINNING: Self = Self {
        incarnation: 0,
        position: 0,
    };

    /// The length of an offset's text.
    pub const TEXT_BYTES: usize = 2 * DIGITS + 1;

    /// The last position that an offset can hold, and so the maximum size of a stream.
    pub const MAX_POSITION: u64 = 999_999_999_999_999;

    /// The last incarnation that an offset can hold.
    pub const MAX_INCARNATION: u64 = 9_999_999_999_999_999;

    /// Parses the value of the header or query parameter `name`. Ignores the last digit.
    ///
    /// # Errors
    /// Anything that is not of the form that [`Offset`] displays.
    pub fn parse(name: &'static str, text: &str) -> Result<Self, BadInput> {
        let half = |digits: &str| {
            let digits_only = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits_only.then(|| digits.parse::<u64>().ok()).flatten()
        };
        text.split_once('_')
            .and_then(|(incarnation, position)| {
                Some(Self {
                    incarnation: half(incarnation)?,
                    position: half(position)? / UNIT,
                })
            })
            .ok_or_else(|| BadInput::new(name, "is not an offset that this server issued"))
    }
}

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// `-1`, or no offset: at the first byte.
    Beginning,
    /// `now`: at the tail.
    Now,
    /// At an offset from an earlier response.
    At(Offset),
}

impl ReadFrom {
    /// Parses an `offset` parameter.
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
            text => Offset::parse("offset", text).map(Self::from),
        }
    }
}

impl From<Offset> for ReadFrom {
    fn from(offset: Offset) -> Self {
        match offset {
            Offset::BEGINNING => Self::Beginning,
            offset => Self::At(offset),
        }
    }
}

#[cfg(test)]
mod tests;
