//! A strict check of JSON texts (RFC 8259) that builds no values.
//!
//! A single message that a reader's parser rejects makes the whole stream unreadable for that
//! reader. So the check also refuses JSON that the RFC allows but common parsers reject (RFC 8259,
//! sections 8.2 and 9):
//!
//! - nesting beyond a limit: Ruby stops at 100 levels, Python at about 1000, Go at 10,000;
//! - numbers beyond the range of a double, such as `1e999`: errors in Go and Rust, and `Infinity`
//!   in JavaScript and Python, which they cannot write as JSON. Integers of more than 4300 digits
//!   are errors in Python;
//! - numbers of more than [`MAX_NUMBER_BYTES`]: errors in Jackson (Java);
//! - unpaired surrogate escapes, such as `\ud800`: errors in Rust, replaced in Go, and not
//!   encodable as UTF-8 in Python.
//!
//! Accepted: duplicate keys (parsers keep the last), empty keys, and integers beyond 2^53
//! (JavaScript rounds them).

use super::fault::Fault;
use crate::protocol::BadInput;

/// The maximum length of a number.
const MAX_NUMBER_BYTES: usize = 1000;

/// Integers with at most this many digits are in the range of a double.
const SAFE_DIGITS: usize = 308;

/// One message of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'t> {
    /// The message as it was written.
    pub text: &'t [u8],
    /// Whether there are line feeds or carriage returns between its tokens.
    pub has_line_breaks: bool,
}

/// A position in a JSON text.
#[derive(Debug)]
pub(super) struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    max_depth: usize,
    /// The arrays and objects around the current position, outermost first.
    open: Vec<Container>,
    has_line_breaks: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

impl<'t> Scanner<'t> {
    /// A scanner at the beginning of a text.
    pub fn new(text: &'t [u8], max_depth: usize) -> Self {
        Self {
            text,
            at: 0,
            max_depth,
            open: Vec::new(),
            has_line_breaks: false,
        }
    }

    /// A fault at the current position, described for the client.
    pub fn bad_input(&self, fault: Fault) -> BadInput {
        let (at, problem) = (self.at, fault.describe());
        let reason = match fault {
            Fault::TooDeep => {
                let max = self.max_depth;
                format!("has a message that nests deeper than {max} levels at byte {at}")
            }
            _ if fault.is_invalid_json() => format!("is not valid JSON: {problem} at byte {at}"),
            _ => format!("has {problem} at byte {at}, which common JSON parsers reject"),
        };
        BadInput::new("body", reason)
    }

    /// Checks the encoding of the whole text. Must be called first.
    pub fn check_utf8(&mut self) -> Result<(), Fault> {
        std::str::from_utf8(self.text).map(|_| ()).map_err(|error| {
            self.at = error.valid_up_to();
            Fault::InvalidUtf8
        })
    }

    pub fn skip_whitespace(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.has_line_breaks |= matches!(byte, b'\n' | b'\r');
            self.at += 1;
        }
    }

    /// Skips the next byte if it is `byte`.
    pub fn skip_byte(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips the comma before the next element of an array; `false` if the array ends instead.
    pub fn next_element(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.skip_whitespace();
                Ok(true)
            }
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(Fault::ExpectedCommaInArray),
        }
    }

    /// Reads a complete value, from its first byte.
    pub fn message(&mut self) -> Result<Message<'t>, Fault> {
        let start = self.at;
        self.has_line_breaks = false;
        loop {
            if self.begin_value()? && self.end_value()? {
                return Ok(Message {
                    text: self.text.get(start..self.at).unwrap_or_default(),
                    has_line_breaks: self.has_line_breaks,
                });
            }
        }
    }

    /// Checks that the text ends here.
    pub fn finish(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Fault::TrailingText),
        }
    }

    /// Reads a scalar or an empty container, or the beginning of another container. Returns
    /// whether the value is complete; if not, its first element comes next.
    fn begin_value(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            Some(b'[') => {
                self.enter(Container::Array)?;
                let empty = self.skip_byte(b']');
                if empty {
                    self.open.pop();
                }
                Ok(empty)
            }
            Some(b'{') => {
                self.enter(Container::Object)?;
                let empty = self.skip_byte(b'}');
                if empty {
                    self.open.pop();
                } else {
                    self.key()?;
                }
                Ok(empty)
            }
            Some(b'"') => self.string().map(|()| true),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| true),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(Fault::ExpectedValue),
        }
    }

    /// After a value: closes the containers that end with it. Returns whether the outermost value
    /// is complete; if not, another element comes next.
    fn end_value(&mut self) -> Result<bool, Fault> {
        while let Some(container) = self.open.last().copied() {
            self.skip_whitespace();
            let more = match (container, self.peek()) {
                (Container::Array, _) => self.next_element()?,
                (Container::Object, Some(b',')) => {
                    self.at += 1;
                    self.skip_whitespace();
                    self.key()?;
                    true
                }
                (Container::Object, Some(b'}')) => {
                    self.at += 1;
                    false
                }
                (Container::Object, _) => return Err(Fault::ExpectedCommaInObject),
            };
            if more {
                return Ok(false);
            }
            self.open.pop();
        }
        Ok(true)
    }

    fn enter(&mut self, container: Container) -> Result<(), Fault> {
        if self.open.len() >= self.max_depth {
            return Err(Fault::TooDeep);
        }
        self.open.push(container);
        self.at += 1;
        self.skip_whitespace();
        Ok(())
    }

    /// Reads a member's name and the colon after it.
    fn key(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return Err(Fault::ExpectedName);
        }
        self.string()?;
        self.skip_whitespace();
        if !self.skip_byte(b':') {
            return Err(Fault::ExpectedColon);
        }
        self.skip_whitespace();
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<bool, Fault> {
        if !self.rest().starts_with(word) {
            return Err(Fault::ExpectedValue);
        }
        self.at += word.len();
        Ok(true)
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            self.at += plain_len(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(Fault::ControlCharacter),
                None => return Err(Fault::UnterminatedString),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.rest().get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            _ => Err(Fault::InvalidEscape),
        }
    }

    fn unicode_escape(&mut self) -> Result<(), Fault> {
        let unit = |rest: &[u8]| hex(rest.strip_prefix(b"\\u")?.get(..4)?);
        match unit(self.rest()).ok_or(Fault::InvalidEscape)? {
            0xd800..=0xdbff => {
                let second = self.rest().get(6..).and_then(unit);
                if !second.is_some_and(|second| (0xdc00..=0xdfff).contains(&second)) {
                    return Err(Fault::UnpairedSurrogate);
                }
                self.at += 12;
            }
            0xdc00..=0xdfff => return Err(Fault::UnpairedSurrogate),
            _ => self.at += 6,
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        self.skip_byte(b'-');
        let digits = match self.peek() {
            Some(b'0') => {
                self.at += 1;
                1
            }
            _ => self.digits()?,
        };
        if self.skip_byte(b'.') {
            self.digits()?;
        }
        let has_exponent = self.skip_byte(b'e') || self.skip_byte(b'E');
        if has_exponent {
            let _ = self.skip_byte(b'+') || self.skip_byte(b'-');
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(Fault::LeadingZero);
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if text.len() > MAX_NUMBER_BYTES {
            self.at = start;
            return Err(Fault::NumberTooLong);
        }
        if (has_exponent || digits > SAFE_DIGITS) && !is_finite(text) {
            self.at = start;
            return Err(Fault::OutOfRange);
        }
        Ok(())
    }

    /// Reads one or more digits; returns their number.
    fn digits(&mut self) -> Result<usize, Fault> {
        let rest = self.rest();
        let count = rest
            .iter()
            .position(|byte| !byte.is_ascii_digit())
            .unwrap_or(rest.len());
        self.at += count;
        if count == 0 {
            return Err(Fault::ExpectedDigit);
        }
        Ok(count)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }
}

/// The number of bytes before the first quote, backslash or control character. Tests eight bytes at
/// a time.
fn plain_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    // Sets the high bit of the first byte that is less than `limit`, and perhaps of later ones.
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH_BITS;
    let equal = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let special = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\');
        if special != 0 {
            return 8 * index + special.trailing_zeros() as usize / 8;
        }
    }
    let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..0x20));
    8 * words.len() + plain.unwrap_or(rest.len())
}

/// Four hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

fn is_finite(number: &[u8]) -> bool {
    let parsed = std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    parsed.is_some_and(f64::is_finite)
}
