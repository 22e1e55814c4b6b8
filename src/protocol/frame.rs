//! Frames, which keep appends apart.
//!
//! A stream that is not JSON stores each append as a frame: its length in unsigned LEB128, then its
//! bytes. Positions count the stored bytes, so an append begins and ends at the same position in
//! every store, fork and copy.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The media type of a stream as it is stored: messages, each followed by `,` and a line feed, or
/// bytes whose appends are not kept apart.
pub const STORED: &str = "application/vnd.durable-streams.stored";
/// The media type of a stream as it is stored, in frames.
pub const STORED_APPENDS: &str = "application/vnd.durable-streams.stored; appends=framed";

/// The maximum length of a frame's header.
pub const MAX_HEADER: usize = 8;

/// Whether a stream stores its appends as frames, and the power of two that none exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Framing(u8);

impl Framing {
    /// No frames: for JSON, whose messages have separators, and for streams created by versions
    /// without frames.
    pub const NONE: Self = Self(0);
    /// For a new stream: frames of up to 64 KiB, until a longer one is appended.
    pub const NEW: Self = Self(16);
    /// Frames of any length, where something else bounds it.
    pub const ANY: Self = Self(63);

    /// Whether appends are frames.
    #[must_use]
    pub fn is_framed(self) -> bool {
        self != Self::NONE
    }

    /// The maximum length of an append. A greater length in a header means that no frame begins
    /// there.
    #[must_use]
    pub fn max_len(self) -> u64 {
        1u64.checked_shl(u32::from(self.0)).unwrap_or(u64::MAX)
    }

    /// This framing, extended to an append of `len` bytes if necessary.
    #[must_use]
    pub fn covering(self, len: u64) -> Self {
        if !self.is_framed() || len <= self.max_len() {
            return self;
        }
        let bits = len.checked_next_power_of_two().map_or(63, u64::trailing_zeros);
        Self(u8::try_from(bits).unwrap_or(63))
    }
}

/// The length of the header of an append of `len` bytes.
#[must_use]
pub fn header_len(len: u64) -> usize {
    let bits = u64::BITS - (len | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Writes the header of an append of `len` bytes.
fn put_header(out: &mut Vec<u8>, len: u64) {
    let mut rest = len;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// The frame header of an append of `len` bytes.
#[must_use]
pub fn header(len: u64) -> Bytes {
    let mut out = Vec::with_capacity(header_len(len));
    put_header(&mut out, len);
    out.into()
}

/// Adds an append as a frame: in one piece if copying it costs less than a second piece does.
pub fn push(pieces: &mut Vec<Bytes>, append: &Bytes) {
    const COPY_BELOW: usize = 4 * 1024;
    let len = append.len() as u64;
    if append.len() >= COPY_BELOW {
        return pieces.extend([header(len), append.clone()]);
    }
    let mut frame = Vec::with_capacity(header_len(len) + append.len());
    put_header(&mut frame, len);
    frame.extend_from_slice(append);
    pieces.push(frame.into());
}

/// The result of reading a frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// A complete header.
    Whole {
        /// The header's length.
        size: usize,
        /// The append's length.
        len: u64,
    },
    /// The bytes end inside it.
    Cut,
    /// No frame begins here.
    None,
}

/// Reads the header that `bytes` begin with.
#[must_use]
pub fn read_header(bytes: &[u8], framing: Framing) -> Header {
    let mut len = 0u64;
    for (index, byte) in bytes.iter().take(MAX_HEADER).enumerate() {
        len |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            // A length has one encoding, and no append is empty: this rejects most other bytes.
            let canonical = *byte != 0;
            return if canonical && len <= framing.max_len() {
                Header::Whole { size: index + 1, len }
            } else {
                Header::None
            };
        }
    }
    if bytes.len() < MAX_HEADER {
        Header::Cut
    } else {
        Header::None
    }
}

/// The complete frames in a run of bytes, in order.
#[derive(Debug, Clone)]
pub struct Frames<'b> {
    bytes: &'b [u8],
    at: usize,
    framing: Framing,
}

/// The frames in `bytes`, the first of which begins at the first byte.
#[must_use]
pub fn frames(bytes: &[u8], framing: Framing) -> Frames<'_> {
    Frames { bytes, at: 0, framing }
}

impl Frames<'_> {
    /// Where the next frame begins: after the last complete one.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The header after the last complete frame.
    #[must_use]
    pub fn next_header(&self) -> Header {
        read_header(self.bytes.get(self.at..).unwrap_or_default(), self.framing)
    }
}

impl Iterator for Frames<'_> {
    /// The range of an append's bytes.
    type Item = std::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let Header::Whole { size, len } = self.next_header() else {
            return None;
        };
        let begin = self.at + size;
        let end = begin.checked_add(usize::try_from(len).ok()?)?;
        if end > self.bytes.len() {
            return None;
        }
        self.at = end;
        Some(begin..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_holds_the_length_of_its_append() {
        for len in [1, 2, 127, 128, 16_383, 16_384, 65_536, 10_485_760, 1 << 40] {
            let framing = Framing::NEW.covering(len);
            let header = header(len);
            assert!(header.len() <= MAX_HEADER);
            assert_eq!(header.len(), header_len(len));
            let size = header.len();
            assert_eq!(read_header(&header, framing), Header::Whole { size, len }, "{len}");
            for cut in 0..size {
                assert_eq!(read_header(&header[..cut], framing), Header::Cut, "{len} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_frame_is_the_same_in_one_piece_and_in_two() {
        for len in [1, 127, 128, 4095, 4096, 100_000] {
            let append = Bytes::from(vec![7; len]);
            let expected = [header(len as u64), append.clone()].concat();
            let mut pieces = Vec::new();
            push(&mut pieces, &append);
            assert_eq!(pieces.concat(), expected, "{len}");
        }
    }

    #[test]
    fn bytes_that_are_no_header_are_rejected() {
        let framing = Framing::NEW;
        assert_eq!(read_header(&[0], framing), Header::None, "no append is empty");
        assert_eq!(
            read_header(&[0x81, 0], framing),
            Header::None,
            "a length has one encoding"
        );
        assert_eq!(
            read_header(&header(65_537), framing),
            Header::None,
            "longer than any append"
        );
        assert_eq!(read_header(&[0xff; 64], framing), Header::None);
        assert_eq!(read_header(&[0xff; 64], Framing(255)), Header::None);
    }

    #[test]
    fn frames_are_found_up_to_the_first_incomplete_one() {
        let mut bytes = Vec::new();
        for append in [&b"one"[..], b"x", &[7; 300]] {
            bytes.extend_from_slice(&header(append.len() as u64));
            bytes.extend_from_slice(append);
        }
        let mut all = frames(&bytes, Framing::NEW);
        let lens: Vec<usize> = all.by_ref().map(|frame| frame.len()).collect();
        assert_eq!((lens, all.at()), (vec![3, 1, 300], bytes.len()));
        let mut cut = frames(&bytes[..bytes.len() - 1], Framing::NEW);
        assert_eq!(cut.by_ref().count(), 2);
        assert_eq!(cut.at(), 6);
    }

    #[test]
    fn the_maximum_length_grows_by_powers_of_two() {
        assert_eq!(Framing::NEW.covering(65_536), Framing::NEW);
        assert_eq!(Framing::NEW.covering(65_537).max_len(), 131_072);
        assert_eq!(Framing::NONE.covering(1 << 40), Framing::NONE);
    }
}
