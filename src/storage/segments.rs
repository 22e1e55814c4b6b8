//! A stream's bytes as a run of shared pieces.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::storage::Position;

/// Pieces of at least this size are kept as they came. Smaller ones are gathered: a copy of
/// so few bytes costs less than the bookkeeping for a piece, and a small piece may hold on
/// to the whole network buffer that it was cut from.
const KEEP_FROM: usize = 16 * 1024;

/// Gathered bytes become a shared piece at this size.
const SLAB: usize = 64 * 1024;

/// The bytes of one stream from its first own position on.
#[derive(Debug)]
pub(crate) struct Segments {
    /// Finished pieces, in order, none of them empty.
    frozen: Vec<Frozen>,
    /// Small pieces that are still being gathered, behind all frozen ones.
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
        self.frozen.first().map_or(self.open_start, |piece| piece.start)
    }

    /// The position after the last byte.
    pub(crate) fn tail(&self) -> Position {
        self.open_start + self.open.len() as u64
    }

    /// All pieces in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let open = Some(self.open.as_slice()).filter(|open| !open.is_empty());
        self.frozen.iter().map(|piece| piece.bytes.as_ref()).chain(open)
    }

    pub(crate) fn append(&mut self, piece: &Bytes) {
        if piece.len() >= KEEP_FROM {
            self.freeze_open();
            self.frozen.push(Frozen {
                start: self.open_start,
                bytes: piece.clone(),
            });
            self.open_start += piece.len() as u64;
            return;
        }
        if self.open.len() + piece.len() > SLAB {
            self.freeze_open();
        }
        let free = self.open.capacity() - self.open.len();
        if free < piece.len() {
            // Half as much again, not twice: most streams are small and stay so.
            let grown = (self.open.capacity() + self.open.capacity() / 2).min(SLAB);
            let wanted = grown.max(self.open.len() + piece.len());
            self.open.reserve_exact(wanted - self.open.len());
        }
        self.open.extend_from_slice(piece);
    }

    /// Lets go of what lies below a position.
    pub(crate) fn forget_below(&mut self, position: Position) {
        let gone = self.frozen.partition_point(|piece| piece.end() <= position);
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

    /// The bytes of `range`, or those of them that there are.
    pub(crate) fn read(&self, range: Range<Position>) -> Bytes {
        let end = range.end.min(self.tail());
        let first = self.frozen.partition_point(|piece| piece.end() <= range.start);
        let start = range
            .start
            .max(self.frozen.first().map_or(self.open_start, |f| f.start));
        if start >= end {
            return Bytes::new();
        }
        if let Some(piece) = self.frozen.get(first)
            && end <= piece.end()
        {
            return piece.bytes.slice(within(piece.start, start..end, piece.bytes.len()));
        }
        let mut out = BytesMut::with_capacity(usize::try_from(end - start).unwrap_or(0));
        for piece in self.frozen.iter().skip(first).take_while(|piece| piece.start < end) {
            let part = within(piece.start, start..end, piece.bytes.len());
            out.extend_from_slice(piece.bytes.get(part).unwrap_or_default());
        }
        if end > self.open_start {
            let part = within(self.open_start, start..end, self.open.len());
            out.extend_from_slice(self.open.get(part).unwrap_or_default());
        }
        out.freeze()
    }
}

/// `range` relative to a piece that begins at `base` and is `len` long, cut to it.
fn within(base: Position, range: Range<Position>, len: usize) -> Range<usize> {
    let relative = |position: Position| usize::try_from(position.saturating_sub(base)).map_or(len, |at| at.min(len));
    relative(range.start)..relative(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_inside_one_piece_shares_its_memory() {
        let mut segments = Segments::starting_at(100);
        let large = Bytes::from(vec![7u8; KEEP_FROM]);
        segments.append(&Bytes::from_static(b"small"));
        segments.append(&large);
        segments.append(&Bytes::from_static(b"tail"));
        let read = segments.read(110..200);
        assert_eq!(read.len(), 90);
        assert_eq!(read.as_ptr(), large[5..].as_ptr());
    }

    #[test]
    fn what_lies_below_a_position_is_forgotten_and_the_rest_is_not() {
        let build = || {
            let mut segments = Segments::starting_at(10);
            segments.append(&Bytes::from_static(b"small"));
            segments.append(&Bytes::from(vec![7u8; KEEP_FROM]));
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
            15 + KEEP_FROM as u64,
            17 + KEEP_FROM as u64,
            build().tail(),
        ] {
            let mut segments = build();
            segments.forget_below(position);
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
            let len = if i % 37 == 0 { KEEP_FROM + i } else { i * 31 % 2000 };
            let piece: Vec<u8> = (0..len).map(|k| (k * 7 + i) as u8).collect();
            all.extend_from_slice(&piece);
            segments.append(&Bytes::from(piece));
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
