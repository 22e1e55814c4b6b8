//! Groups as the arrays that the commit function takes.

use std::collections::{BTreeMap, HashSet};

use bytes::{Bytes, BytesMut};

use super::encoding::{encode_progress, encode_record, signed};
use crate::{
    protocol::StreamName,
    storage::{Change, Expect, Group, Landed, Position, StorageError, StreamId, StreamRecord, WriterState},
};

/// Larger appends become several rows.
const MAX_PIECE: usize = 1 << 20;

/// Groups that have no stream and no name in common, and can therefore be judged at once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The streams to lock, ascending.
    pub(super) lock: Vec<i64>,
    /// The names that groups with changes create, remove or expect to be absent.
    pub(super) names: Vec<String>,
    pub(super) streams: Streams,
    pub(super) pieces: Pieces,
    pub(super) absent_group: Vec<i32>,
    pub(super) absent_key: Vec<String>,
    pub(super) expected: Writers,
    pub(super) written: Writers,
    /// Groups of the batch, by number, that no state of the store fits.
    pub(super) impossible: HashSet<i32>,
    /// How many groups there are.
    pub(super) groups: usize,
    ids: HashSet<StreamId>,
    keys: HashSet<String>,
}

/// The streams of a batch, column by column.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) id: Vec<i64>,
    pub(super) group: Vec<i32>,
    pub(super) rev: Vec<Option<i64>>,
    pub(super) at: Vec<Option<i64>>,
    pub(super) most: Vec<Option<i64>>,
    pub(super) data: Vec<Option<Bytes>>,
    pub(super) len: Vec<i64>,
    pub(super) base: Vec<Option<i64>>,
    pub(super) remove: Vec<bool>,
    pub(super) first: Vec<Option<i64>>,
    pub(super) due: Vec<Option<i64>>,
    pub(super) record: Vec<Option<Vec<u8>>>,
    pub(super) key: Vec<Option<String>>,
    pub(super) name: Vec<Option<String>>,
}

/// Bytes beyond the first piece of an append.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub(super) group: Vec<i32>,
    pub(super) id: Vec<i64>,
    /// How far before the new tail the piece begins.
    pub(super) back: Vec<i64>,
    pub(super) data: Vec<Bytes>,
}

#[derive(Debug, Default)]
pub(super) struct Writers {
    pub(super) group: Vec<i32>,
    pub(super) id: Vec<i64>,
    pub(super) key: Vec<Vec<u8>>,
    pub(super) progress: Vec<Option<Vec<u8>>>,
    pub(super) used: Vec<i64>,
}

/// What a group does to a stream, and expects of it.
#[derive(Debug, Default)]
struct Entry<'g> {
    rev: Option<u64>,
    room: Option<Position>,
    /// Where the first append was judged to land.
    at: Option<Position>,
    len: u64,
    data: Vec<&'g Bytes>,
    put: Option<(&'g StreamName, &'g StreamRecord)>,
    /// The tail of the stream if it is new.
    base: Option<Position>,
    is_removed: bool,
    writers: BTreeMap<&'g str, Option<&'g WriterState>>,
}

impl Batch {
    /// Adds a group unless it has something in common with one that is in the batch.
    pub(super) fn add(&mut self, group: &Group) -> Result<bool, StorageError> {
        let mut keys: HashSet<&str> = HashSet::new();
        let mut entries: BTreeMap<StreamId, Entry<'_>> = BTreeMap::new();
        let mut is_possible = true;
        for expect in &group.expects {
            match expect {
                Expect::Rev { id, rev } => entries.entry(*id).or_default().rev = Some(*rev),
                Expect::Room { id, at_most } => {
                    let room = &mut entries.entry(*id).or_default().room;
                    *room = Some(room.map_or(*at_most, |room| room.min(*at_most)));
                }
                Expect::Writer { id, .. } => _ = entries.entry(*id).or_default(),
                Expect::Absent { name } => _ = keys.insert(name.key()),
            }
        }
        for change in &group.changes {
            match change {
                Change::Put { name, record } => {
                    keys.insert(name.key());
                    entries.entry(record.id).or_default().put(name, record);
                }
                Change::Append { id, at, data } => {
                    is_possible &= entries.entry(*id).or_default().append(*at, data);
                }
                Change::Writer { id, key, state } => {
                    _ = entries.entry(*id).or_default().writers.insert(key, state.as_ref());
                }
                Change::Remove { name, id } => {
                    keys.insert(name.key());
                    entries.entry(*id).or_default().is_removed = true;
                }
            }
        }
        if keys.iter().any(|key| self.keys.contains(*key)) || entries.keys().any(|id| self.ids.contains(id)) {
            return Ok(false);
        }
        self.ids.extend(entries.keys());
        let number = i32::try_from(self.groups).unwrap_or(i32::MAX);
        self.groups += 1;
        if !is_possible {
            self.impossible.insert(number);
        } else {
            self.push(number, group, entries)?;
            if !group.changes.is_empty() {
                self.names.extend(keys.iter().map(|key| (*key).to_owned()));
            }
        }
        self.keys.extend(keys.into_iter().map(str::to_owned));
        Ok(true)
    }

    fn push(&mut self, number: i32, group: &Group, entries: BTreeMap<StreamId, Entry<'_>>) -> Result<(), StorageError> {
        for expect in &group.expects {
            match expect {
                Expect::Absent { name } => {
                    self.absent_group.push(number);
                    self.absent_key.push(name.key().to_owned());
                }
                Expect::Writer { id, key, progress } => {
                    let progress = progress.as_ref().map(encode_progress).transpose()?;
                    self.expected.push(number, *id, key, progress, 0);
                }
                Expect::Rev { .. } | Expect::Room { .. } => {}
            }
        }
        for (id, entry) in entries {
            if !group.changes.is_empty() {
                self.lock.push(signed(id));
            }
            if !entry.is_removed {
                for (key, state) in &entry.writers {
                    let progress = state.map(|state| encode_progress(&state.progress)).transpose()?;
                    let used_at = state.map_or(0, |state| state.used_at);
                    self.written.push(number, id, key, progress, used_at);
                }
            }
            self.push_stream(number, id, entry)?;
        }
        Ok(())
    }

    fn push_stream(&mut self, number: i32, id: StreamId, entry: Entry<'_>) -> Result<(), StorageError> {
        // A stream that the group itself removes again is not written at all.
        let put = entry.put.filter(|_| !entry.is_removed);
        let len = if entry.is_removed { 0 } else { entry.len };
        let mut pieces = if len == 0 { Vec::new() } else { cut(&entry.data) };
        let first_piece = (!pieces.is_empty()).then(|| pieces.remove(0));
        let mut back = len - first_piece.as_ref().map_or(0, |piece| piece.len() as u64);
        for piece in pieces {
            self.pieces.group.push(number);
            self.pieces.id.push(signed(id));
            self.pieces.back.push(signed(back));
            back -= piece.len() as u64;
            self.pieces.data.push(piece);
        }
        let streams = &mut self.streams;
        streams.id.push(signed(id));
        streams.group.push(number);
        streams.rev.push(entry.rev.map(signed));
        streams.at.push(entry.at.filter(|_| entry.room.is_none()).map(signed));
        streams.most.push(entry.room.map(signed));
        streams.data.push(first_piece);
        streams.len.push(signed(len));
        streams.base.push(entry.base.map(signed));
        streams.remove.push(entry.is_removed);
        streams.first.push(put.map(|(_, record)| signed(record.first())));
        streams.due.push(put.and_then(|(_, record)| record.due_at).map(signed));
        streams
            .record
            .push(put.map(|(_, record)| encode_record(record)).transpose()?);
        // Also if it is removed again: its id must be greater than those of earlier lives of the name.
        streams.key.push(entry.put.map(|(name, _)| name.key().to_owned()));
        streams.name.push(put.map(|(name, _)| name.as_str().to_owned()));
        Ok(())
    }

    /// Whether the batch changes something.
    pub(super) fn changes(&self) -> bool {
        !self.lock.is_empty()
    }

    /// Whether the batch may leave bytes to be deleted.
    pub(super) fn makes_garbage(&self) -> bool {
        // A trim, a removal, or a stream in the place of another one.
        self.streams.first.iter().flatten().any(|first| *first > 0) || !self.names.is_empty()
    }

    /// The streams of a group, by their place in [`Streams`].
    pub(super) fn members(&self, group: i32) -> impl Iterator<Item = usize> + '_ {
        // Groups are added in order.
        let from = self.streams.group.partition_point(|other| *other < group);
        let to = self.streams.group.partition_point(|other| *other <= group);
        from..to
    }

    /// Where a stream was found by a group that was committed, also if the group removed it: what was
    /// appended before in the same batch is answered by it. `None`: the log does not say.
    pub(super) fn landed(&self, index: usize, rev: Option<i64>, tail: Option<i64>) -> Option<Landed> {
        let streams = &self.streams;
        let is_put = streams.record.get(index)?.is_some();
        Some(Landed {
            id: super::encoding::unsigned(*streams.id.get(index)?),
            at: u64::try_from(tail.or(*streams.base.get(index)?)?).ok()?,
            rev: super::encoding::unsigned(rev.unwrap_or(0)) + u64::from(is_put),
        })
    }
}

impl<'g> Entry<'g> {
    fn put(&mut self, name: &'g StreamName, record: &'g StreamRecord) {
        self.base.get_or_insert(record.first());
        self.put = Some((name, record));
    }

    /// Whether the append follows the ones before it.
    fn append(&mut self, at: Position, data: &'g [Bytes]) -> bool {
        let follows = match self.at {
            Some(first) => first.saturating_add(self.len) == at,
            None => true,
        };
        self.at.get_or_insert(at);
        self.len += data.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.data.extend(data.iter().filter(|piece| !piece.is_empty()));
        follows && !self.is_removed
    }
}

impl Writers {
    fn push(&mut self, group: i32, id: StreamId, key: &str, progress: Option<Vec<u8>>, used_at: u64) {
        self.group.push(group);
        self.id.push(signed(id));
        self.key.push(key.as_bytes().to_vec());
        self.progress.push(progress);
        self.used.push(signed(used_at));
    }
}

/// Joins pieces into rows.
fn cut(data: &[&Bytes]) -> Vec<Bytes> {
    if let [only] = data
        && only.len() <= MAX_PIECE
    {
        return vec![Bytes::clone(only)];
    }
    let (mut rows, mut row) = (Vec::new(), BytesMut::new());
    for piece in data {
        let mut rest = Bytes::clone(piece);
        while !rest.is_empty() {
            let taken = rest.split_to(rest.len().min(MAX_PIECE - row.len()));
            row.extend_from_slice(&taken);
            if row.len() == MAX_PIECE {
                rows.push(row.split().freeze());
            }
        }
    }
    if !row.is_empty() {
        rows.push(row.freeze());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::contract::{append, put, record, remove};

    #[test]
    fn groups_with_a_stream_or_a_name_in_common_are_not_judged_at_once() {
        let mut batch = Batch::default();
        let group = |changes: Vec<Change>| Group::from(changes);
        assert!(batch.add(&group(vec![append(1, 0, "a"), append(2, 5, "b")])).unwrap());
        assert!(!batch.add(&group(vec![append(2, 6, "c")])).unwrap());
        assert!(batch.add(&group(vec![put("a", record(3))])).unwrap());
        assert!(!batch.add(&group(vec![remove("a", 4)])).unwrap());
        assert!(batch.add(&group(vec![append(5, 0, "d")])).unwrap());
        assert_eq!((batch.groups, batch.lock.as_slice()), (3, [1, 2, 3, 5].as_slice()));
        assert_eq!(batch.members(0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(batch.members(2).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn large_appends_become_rows_of_a_bounded_size() {
        let mut batch = Batch::default();
        let large = vec![7; 2 * MAX_PIECE + 10];
        let group = Group::from(vec![append(1, 0, "ab"), append(1, 2, &large)]);
        assert!(batch.add(&group).unwrap());
        assert_eq!(batch.streams.data[0].as_ref().unwrap().len(), MAX_PIECE);
        assert_eq!(batch.streams.len, [2 * MAX_PIECE as i64 + 12]);
        assert_eq!(batch.pieces.back, [MAX_PIECE as i64 + 12, 12]);
        assert!(batch.pieces.data.iter().map(Bytes::len).eq([MAX_PIECE, 12]));
    }
}
