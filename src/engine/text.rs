//! Places where UTF-8 text can be cut without splitting a character.

/// Whether a character of UTF-8 begins with this byte.
fn starts_character(byte: u8) -> bool {
    (byte as i8) >= -0x40
}

/// The number of bytes before an incomplete character at the end: all of them if there is none.
/// Each byte of invalid UTF-8 counts as a character.
pub(super) fn whole_characters(bytes: &[u8]) -> usize {
    let last = bytes
        .iter()
        .rev()
        .take(4)
        .position(|byte| starts_character(*byte))
        .map_or(bytes.len(), |back| bytes.len() - 1 - back);
    match std::str::from_utf8(bytes.get(last..).unwrap_or_default()) {
        Err(error) if error.error_len().is_none() => last,
        _ => bytes.len(),
    }
}

/// Whether the bytes end inside a character.
pub(super) fn ends_inside_character(bytes: &[u8]) -> bool {
    whole_characters(bytes) < bytes.len()
}

/// How a place between two bytes relates to the character before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seam {
    /// At its end, or after invalid UTF-8.
    Whole,
    /// Inside it.
    Split,
    /// Unknown until more bytes follow.
    Open,
}

/// Classifies the place after the first `at` bytes.
pub(super) fn seam(bytes: &[u8], at: usize) -> Seam {
    let before = bytes.get(..at).unwrap_or_default();
    let Some(back) = before.iter().rev().take(4).position(|byte| starts_character(*byte)) else {
        return Seam::Whole;
    };
    let begin = before.len() - 1 - back;
    let rest = bytes.get(begin..).unwrap_or_default();
    let first = rest.get(..rest.len().min(4)).unwrap_or_default();
    let valid = match std::str::from_utf8(first) {
        Ok(valid) => valid,
        Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => return Seam::Open,
        Err(error) => first
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok())
            .unwrap_or_default(),
    };
    match valid.chars().next() {
        Some(character) if begin + character.len_utf8() > at => Seam::Split,
        _ => Seam::Whole,
    }
}

/// The first position at or after `from` at which a character begins.
pub(super) fn next_character(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).find(|at| bytes.get(*at).is_some_and(|byte| starts_character(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_character_at_the_end_is_not_counted() {
        for (bytes, whole) in [
            (&b""[..], 0),
            (b"a", 1),
            ("é".as_bytes(), 2),
            (b"a\xc3", 1),
            (b"\xc3", 0),
            (b"\xf0\x9f\x98", 0),
            ("😀".as_bytes(), 4),
            (b"\xe2\x82a", 3),
            (b"\xa9", 1),
            (b"\x80\x80\x80\x80\x80", 5),
            (b"\xff", 1),
        ] {
            assert_eq!(whole_characters(bytes), whole, "{bytes:?}");
        }
    }
}
