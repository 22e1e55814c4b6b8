//! The framing of journal records.
//!
//! A header of 32 bytes precedes the content. Its numbers are little-endian: magic, checksum,
//! sequence number, length, checksum of the previous record, four zeros. The checksum is CRC-32C
//! of the journal's salt, the header after the checksum, and the content.

use bytes::Bytes;

use super::entry::Encoded;

/// The length of a header.
pub(super) const HEADER_LEN: usize = 32;

/// The first bytes of a header.
pub(super) const MAGIC: [u8; 4] = *b"rec\x01";

/// The header of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) crc: u32,
    /// The record's sequence number.
    pub(super) seq: u64,
    /// The length of the content.
    pub(super) len: u64,
    /// The checksum of the previous record. A stale record of the same number at the same offset
    /// does not continue the chain.
    pub(super) previous: u32,
}

impl Header {
    /// The header of a content.
    pub(super) fn for_content(salt: u64, seq: u64, previous: u32, content: &Encoded) -> Self {
        let mut header = Self {
            crc: 0,
            seq,
            len: content.len(),
            previous,
        };
        header.crc = content.parts().fold(header.begin_crc(salt), crc32c::crc32c_append);
        header
    }

    fn begin_crc(&self, salt: u64) -> u32 {
        let bytes = self.to_bytes();
        let after_crc = bytes.get(8..).unwrap_or_default();
        crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), after_crc)
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let fields = MAGIC
            .into_iter()
            .chain(self.crc.to_le_bytes())
            .chain(self.seq.to_le_bytes())
            .chain(self.len.to_le_bytes())
            .chain(self.previous.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(byte, field)| *byte = field);
        bytes
    }

    /// A possible header at an offset. The checksum is not verified.
    pub(super) fn at(content: &[u8], at: usize) -> Option<Self> {
        let header = content.get(at..at.checked_add(HEADER_LEN)?)?;
        let (magic, rest) = header.split_first_chunk::<4>()?;
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

    /// The intact record at an offset, if there is one.
    pub(super) fn record_at(salt: u64, content: &Bytes, at: usize) -> Option<(Self, Bytes)> {
        let header = Self::at(content, at)?;
        let begin = at + HEADER_LEN;
        let end = begin.checked_add(usize::try_from(header.len).ok()?)?;
        let record = content.get(begin..end)?;
        let crc = crc32c::crc32c_append(header.begin_crc(salt), record);
        (crc == header.crc).then(|| (header, content.slice(begin..end)))
    }
}
