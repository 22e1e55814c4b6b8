//! A stream's bytes in memory, as a sequence of shared chunks.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::storage::Position;

/// Smaller appends are copied together: a copy is cheaper than a chunk of its own, and a small
/// slice may keep the whole network buffer alive that it was cut from.
const MIN_SHARED: usize = 16 * 1024;

/// Copied bytes become a shared chunk at this size.
const MAX_OPEN: usize = 64 * 1024;

/// The bytes of one stream, beginning at its first own position.
#[derive(Debug)]
pub(crate) struct Segments {
    /// Finished chunks in order, none empty.
    frozen: Vec<Frozen>,
    /// Small appends after the frozen chunks.
    open: Vec<u8>,
    /// The position of the first byte of `open`.
    open_start: Position,
}

#[derive(Debug)]
struct Frozen {
    start: Position,
    bytes: Bytes,
}

impl Frozen {
    fn end(&self) -> Position {
        self.start + self.bytes.len() as u64
    }
}

impl Segments {
    pub(crate) fn starting_at(start: Position) -> Self {
        Self {
            frozen: Vec::new(),
            open: Vec::new(),
            open_start: start,
        }
    }

    /// The position of the first byte.
    pub(crate) fn start(&self) -> Position {
        self.frozen.first().map_or(self.open_start, |chunk| chunk.start)
    }

    /// The position after the last byte.
    pub(crate) fn tail(&self) -> Position {
        self.open_start + self.open.len() as u64
    }

    /// All chunks in order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let open = Some(self.open.as_slice()).filter(|open| !open.is_empty());
        self.frozen.iter().map(|chunk| chunk.bytes.as_ref()).chain(open)
    }

    pub(crate) fn append(&mut self, chunk: &Bytes) {
        if chunk.len() >= MIN_SHARED {
            self.freeze_open();
            self.frozen.push(Frozen {
                start: self.open_start,
                bytes: chunk.clone(),
            });
            self.open_start += chunk.len() as u64;
            return;
        }
        if self.open.len() + chunk.len() > MAX_OPEN {
            self.freeze_open();
        }
        let free = self.open.capacity() - self.open.len();
        if free < chunk.len() {
            // Grow by half instead of doubling: most streams are small and stay so.
            let grown = (self.open.capacity() + self.open.capacity() / 2).min(MAX_OPEN);
            let wanted = grown.max(self.open.len() + chunk.len());
            self.open.reserve_exact(wanted - self.open.len());
        }
        self.open.extend_from_slice(chunk);
    }

    /// Drops the bytes below a position.
    pub(crate) fn trim_below(&mut self, position: Position) {
        let gone = self.frozen.partition_point(|chunk| chunk.end() <= position);
        self.frozen.drain(..gone);
        if let Some(first) = self.frozen.first_mut().filter(|first| first.start < position) {
            let part = within(first.start, position..first.end(), first.bytes.len());
            first.bytes = first.bytes.slice(part);
            first.start = position;
        }
        if self.open_start < position {
            let below = within(self.open_start, self.open_start..position, self.open.len()).end;
            self.open.drain(..below);
            self.open.shrink_to_fit();
            self.open_start += below as u64;
        }
    }

    fn freeze_open(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let bytes = Bytes::from(std::mem::take(&mut self.open).into_boxed_slice());
        let start = self.open_start;
        self.open_start += bytes.len() as u64;
        self.frozen.push(Frozen { start, bytes });
    }

    /// The bytes of `range` that exist.
    pub(crate) fn read(&self, range: Range<Position>) -> Bytes {
        let end = range.end.min(self.tail());
        let first = self.frozen.partition_point(|chunk| chunk.end() <= range.start);
        let start = range
            .start
            .max(self.frozen.first().map_or(self.open_start, |f| f.start));
        if start >= end {
            return Bytes::new();
        }
        if let Some(chunk) = self.frozen.get(first)
            && end <= chunk.end()
        {
            return chunk.bytes.slice(within(chunk.start, start..end, chunk.bytes.len()));
        }
        let mut out = BytesMut::with_capacity(usize::try_from(end - start).unwrap_or(0));
        for chunk in self.frozen.iter().skip(first).take_while(|chunk| chunk.start < end) {
            let part = within(chunk.start, start..end, chunk.bytes.len());
            out.extend_from_slice(chunk.bytes.get(part).unwrap_or_default());
        }
        if end > self.open_start {
            let part = within(self.open_start, start..end, self.open.len());
            out.extend_from_slice(self.open.get(part).unwrap_or_default());
        }
        out.freeze()
    }
}

/// `range` relative to a chunk that begins at `base`, clamped to its length `len`.
fn within(base: Position, range: Range<Position>, len: usize) -> Range<usize> {
    let relative = |position: Position| usize::try_from(position.saturating_sub(base)).map_or(len, |at| at.min(len));
    relative(range.start)..relative(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_inside_one_chunk_shares_its_memory() {
        let mut segments = Segments::starting_at(100);
        let large = Bytes::from(vec![7u8; MIN_SHARED]);
        segments.append(&Bytes::from_static(b"small"));
        segments.append(&large);
        segments.append(&Bytes::from_static(b"tail"));
        let read = segments.read(110..200);
        assert_eq!(read.len(), 90);
        assert_eq!(read.as_ptr(), large[5..].as_ptr());
    }

    #[test]
    fn trimming_drops_the_bytes_below_a_position_and_keeps_the_rest() {
        let build = || {
            let mut segments = Segments::starting_at(10);
            segments.append(&Bytes::from_static(b"small"));
            segments.append(&Bytes::from(vec![7u8; MIN_SHARED]));
            segments.append(&Bytes::from_static(b"tail"));
            segments
        };
        let all = build().read(0..u64::MAX);
        for position in [
            0,
            10,
            12,
            15,
            20,
            15 + MIN_SHARED as u64,
            17 + MIN_SHARED as u64,
            build().tail(),
        ] {
            let mut segments = build();
            segments.trim_below(position);
            let from = usize::try_from(position.max(10) - 10).unwrap();
            assert_eq!(segments.read(0..u64::MAX), all[from..], "{position}");
            assert_eq!(segments.start(), position.max(10));
            segments.append(&Bytes::from_static(b"more"));
            assert_eq!(segments.read(0..u64::MAX).len(), all.len() - from + 4, "{position}");
        }
    }

    #[test]
    fn every_range_reads_what_was_appended() {
        let mut segments = Segments::starting_at(1000);
        let mut all = Vec::new();
        for i in 0..200usize {
            let len = if i % 37 == 0 { MIN_SHARED + i } else { i * 31 % 2000 };
            let chunk: Vec<u8> = (0..len).map(|k| (k * 7 + i) as u8).collect();
            all.extend_from_slice(&chunk);
            segments.append(&Bytes::from(chunk));
        }
        assert_eq!(segments.tail(), 1000 + all.len() as u64);
        for step in 0..500usize {
            let from = step * 7919 % all.len();
            let to = (from + step * 331 + 1).min(all.len());
            let read = segments.read(1000 + from as u64..1000 + to as u64);
            assert_eq!(&read[..], &all[from..to], "{from}..{to}");
        }
        assert_eq!(segments.read(0..u64::MAX).len(), all.len());
        assert!(segments.read(segments.tail()..u64::MAX).is_empty());
        assert!(segments.read(0..1000).is_empty());
    }
}
