//! Where text can be cut without tearing a character of UTF-8 apart.

/// Whether a character of UTF-8 begins with this byte.
fn starts_character(byte: u8) -> bool {
    (byte as i8) >= -0x40
}

/// How many of the bytes come before a character that has begun and not ended: all of them if
/// there is none. Bytes that are no UTF-8 are characters of their own.
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

/// Whether the bytes end inside of a character.
pub(super) fn ends_torn(bytes: &[u8]) -> bool {
    whole_characters(bytes) < bytes.len()
}

/// A place between two bytes, seen from the character before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seam {
    /// Its end, or the bytes before are no UTF-8.
    Whole,
    /// A place within it.
    Torn,
    /// The bytes end before that is known.
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
        Some(character) if begin + character.len_utf8() > at => Seam::Torn,
        _ => Seam::Whole,
    }
}

/// The first place at or after `from` where a character begins.
pub(super) fn next_character(bytes: &[u8], from: usize) -> Option<usize> {
    (from..bytes.len()).find(|at| bytes.get(*at).is_some_and(|byte| starts_character(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_is_whole_or_not_there() {
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
