//! How a journal record is told from anything else.
//!
//! A head of 32 bytes, all numbers little-endian: magic, checksum, number, length, checksum of
//! the record before, four zeros; the content follows. The checksum is CRC-32C over the
//! journal's salt, the head behind it, and the content.

use bytes::Bytes;

use super::entry::Encoded;

/// The length of a record's head.
pub(super) const HEAD: usize = 32;

/// How every head begins.
pub(super) const MAGIC: [u8; 4] = *b"rec\x01";

/// A record's head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) crc: u32,
    /// Its number; the next record has the next.
    pub(super) seq: u64,
    /// The length of its content.
    pub(super) len: u64,
    /// The checksum of the record before: one that was written in another past, at the same
    /// place and with the same number, is not taken for the next.
    pub(super) previous: u32,
}

impl Head {
    /// The head for a content.
    pub(super) fn for_content(salt: u64, seq: u64, previous: u32, content: &Encoded) -> Self {
        let mut head = Self {
            crc: 0,
            seq,
            len: content.len(),
            previous,
        };
        head.crc = content.parts().fold(head.begin_crc(salt), crc32c::crc32c_append);
        head
    }

    fn begin_crc(&self, salt: u64) -> u32 {
        let bytes = self.to_bytes();
        let behind_crc = bytes.get(8..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), behind_crc)
    }

    pub(super) fn to_bytes(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let fields = MAGIC
            .into_iter()
            .chain(self.crc.to_le_bytes())
            .chain(self.seq.to_le_bytes())
            .chain(self.len.to_le_bytes())
            .chain(self.previous.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        bytes
    }

    /// What may be a head at a place; the checksum is not looked at.
    pub(super) fn at(content: &[u8], at: usize) -> Option<Self> {
        let head = content.get(at..at.checked_add(HEAD)?)?;
        let (magic, rest) = head.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let (len, rest) = rest.split_first_chunk::<8>()?;
        let (previous, rest) = rest.split_first_chunk::<4>()?;
        (*magic == MAGIC && rest == [0; 4]).then(|| Self {
            crc: u32::from_le_bytes(*crc),
            seq: u64::from_le_bytes(*seq),
            len: u64::from_le_bytes(*len),
            previous: u32::from_le_bytes(*previous),
        })
    }

    /// The record at a place, if a whole one begins there.
    pub(super) fn record_at(salt: u64, content: &Bytes, at: usize) -> Option<(Self, Bytes)> {
        let head = Self::at(content, at)?;
        let begin = at + HEAD;
        let end = begin.checked_add(usize::try_from(head.len).ok()?)?;
        let record = content.get(begin..end)?;
        let crc = crc32c::crc32c_append(head.begin_crc(salt), record);
        (crc == head.crc).then(|| (head, content.slice(begin..end)))
    }
}
