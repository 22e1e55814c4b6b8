//! The content of journal records. `docs/storage.md` is the reference.
//!
//! A batch is a sequence of entries in postcard's encoding. The entry of an append is followed by
//! its bytes.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    protocol::{NameError, StreamName},
    storage::{
        Change, Position, Progress, StreamId, WriterState,
        format::{StoredProducer, StoredRecord, StoredRetention, StoredWriter, legacy::LegacyRecord},
    },
};

/// Smaller buffers are copied, larger ones are written in place.
const MIN_SHARED: usize = 4 * 1024;

/// An entry to be written.
#[derive(Serialize)]
#[cfg_attr(not(test), allow(dead_code))] // legacy variants hold the numbers of the others
enum EntryRef<'a> {
    LegacyPut(&'a StreamName, &'a LegacyRecord),
    Append(StreamId, Position, u64),
    LegacyProducer(StreamId, &'a str, StoredProducer),
    Remove(&'a StreamName, StreamId),
    NextId(StreamId),
    LegacyPutWithRetention(&'a StreamName, &'a LegacyRecord, &'a StoredRetention),
    Put(&'a StreamName, &'a StoredRecord<'a>),
    Writer(StreamId, &'a str, Option<StoredWriter<'a>>),
}

/// An entry that was read. The order of the variants is the format.
#[derive(Deserialize)]
enum EntryOwned {
    LegacyPut(String, LegacyRecord),
    Append(StreamId, Position, u64),
    LegacyProducer(StreamId, String, StoredProducer),
    Remove(String, StreamId),
    NextId(StreamId),
    LegacyPutWithRetention(String, LegacyRecord, StoredRetention),
    Put(String, StoredRecord<'static>),
    Writer(StreamId, String, Option<StoredWriter<'static>>),
}

/// The decoded content of a record.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// The changes of a batch.
    pub(crate) batch: Vec<Change>,
    /// Ids below this one may be in use.
    pub(crate) next_id: StreamId,
}

/// The encoded content of a record. Large buffers are not copied.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// Copied bytes, in order.
    copied: Vec<u8>,
    /// Shared buffers, each with its place in `copied`.
    shared: Vec<(usize, Bytes)>,
}

impl Encoded {
    pub(crate) fn batch(batch: &[Change]) -> Result<Self, postcard::Error> {
        let mut encoded = Self {
            copied: Vec::with_capacity(batch.iter().map(usual_len).sum()),
            shared: Vec::new(),
        };
        for change in batch {
            match change {
                Change::Put { name, record } => encoded.entry(&EntryRef::Put(name, &StoredRecord::from(record)))?,
                Change::Append { id, at, data } => {
                    let len = data.iter().map(|piece| piece.len() as u64).sum();
                    encoded.entry(&EntryRef::Append(*id, *at, len))?;
                    data.iter().for_each(|piece| encoded.bytes(piece));
                }
                Change::Writer { id, key, state } => {
                    encoded.entry(&EntryRef::Writer(*id, key, state.as_ref().map(Into::into)))?;
                }
                Change::Remove { name, id } => encoded.entry(&EntryRef::Remove(name, *id))?,
            }
        }
        Ok(encoded)
    }

    pub(crate) fn next_id(next: StreamId) -> Result<Self, postcard::Error> {
        let mut encoded = Self::default();
        encoded.entry(&EntryRef::NextId(next))?;
        Ok(encoded)
    }

    fn entry(&mut self, entry: &EntryRef<'_>) -> Result<(), postcard::Error> {
        self.copied = postcard::to_extend(entry, std::mem::take(&mut self.copied))?;
        Ok(())
    }

    fn bytes(&mut self, piece: &Bytes) {
        if piece.len() < MIN_SHARED {
            self.copied.extend_from_slice(piece);
        } else {
            self.shared.push((self.copied.len(), piece.clone()));
        }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        let shared: u64 = self.shared.iter().map(|(_, piece)| piece.len() as u64).sum();
        self.copied.len() as u64 + shared
    }

    /// Its parts in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let between = move |part: Range<usize>| self.copied.get(part).unwrap_or_default();
        self.shared
            .iter()
            .flat_map(move |(at, piece)| {
                let copied = between(from..*at);
                from = *at;
                [copied, piece.as_ref()]
            })
            .chain(std::iter::once_with(move || {
                between(self.shared.last().map_or(0, |(at, _)| *at)..self.copied.len())
            }))
            .filter(|part| !part.is_empty())
    }
}

/// About as many bytes as a change takes in [`Encoded::copied`].
fn usual_len(change: &Change) -> usize {
    const ENTRY: usize = 64;
    match change {
        Change::Append { data, .. } => {
            let copied = data.iter().map(Bytes::len).filter(|len| *len < MIN_SHARED);
            ENTRY + copied.sum::<usize>()
        }
        Change::Put { .. } | Change::Writer { .. } | Change::Remove { .. } => ENTRY,
    }
}

/// Resolves the names of streams, which versions before format 3 of the index wrote differently.
pub(crate) trait ResolveNames {
    fn legacy_put(&mut self, written: &str, id: StreamId) -> Result<StreamName, DecodeError>;
    fn put(&mut self, written: &str, id: StreamId) -> Result<StreamName, DecodeError>;
    fn removed(&mut self, written: &str, id: StreamId) -> Result<StreamName, DecodeError>;
}

/// The content of a record has no meaning.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("an entry cannot be decoded: {0}")]
    Entry(#[from] postcard::Error),
    #[error("an append is longer than its record")]
    TruncatedAppend,
    #[error("the name `{name}` is not allowed: {source}")]
    Name { name: String, source: NameError },
    #[error("no name is allowed for the stream that was called `{0}`")]
    NoName(String),
    #[error("the index cannot be read: {0}")]
    Index(#[from] redb::Error),
}

impl DecodeError {
    /// Parses a name.
    pub(crate) fn parse_name(name: &str) -> Result<StreamName, Self> {
        StreamName::stored(name).map_err(|source| Self::Name {
            name: name.to_owned(),
            source,
        })
    }
}

/// Decodes the content of a record.
pub(crate) fn decode(content: &Bytes, names: &mut impl ResolveNames) -> Result<Decoded, DecodeError> {
    let mut decoded = Decoded::default();
    let mut rest = content.clone();
    while !rest.is_empty() {
        let (entry, unread) = postcard::take_from_bytes::<EntryOwned>(&rest)?;
        let used = rest.len() - unread.len();
        let mut unread = rest.split_off(used);
        decoded.batch.push(match entry {
            EntryOwned::Put(name, record) => Change::Put {
                name: names.put(&name, record.id())?,
                record: record.into(),
            },
            EntryOwned::LegacyPut(name, record) => Change::Put {
                name: names.legacy_put(&name, record.id())?,
                record: record.upgrade(None),
            },
            EntryOwned::LegacyPutWithRetention(name, record, retention) => Change::Put {
                name: names.legacy_put(&name, record.id())?,
                record: record.upgrade(Some(retention)),
            },
            EntryOwned::Append(id, at, len) => {
                let len = usize::try_from(len).ok().filter(|len| *len <= unread.len());
                let data = unread.split_to(len.ok_or(DecodeError::TruncatedAppend)?);
                Change::Append {
                    id,
                    at,
                    data: vec![data],
                }
            }
            EntryOwned::LegacyProducer(id, key, state) => Change::Writer {
                id,
                key,
                state: Some(WriterState {
                    progress: Progress::Producer(state.into()),
                    used_at: 0,
                }),
            },
            EntryOwned::Writer(id, key, state) => Change::Writer {
                id,
                key,
                state: state.map(Into::into),
            },
            EntryOwned::Remove(name, id) => Change::Remove {
                name: names.removed(&name, id)?,
                id,
            },
            EntryOwned::NextId(next) => {
                decoded.next_id = next;
                rest = unread;
                continue;
            }
        });
        rest = unread;
    }
    Ok(decoded)
}

#[cfg(test)]
impl Encoded {
    /// A stream and its bytes as written by a version before format 3 of the index.
    pub(crate) fn legacy(name: &str, record: &crate::storage::StreamRecord, data: &'static str) -> Self {
        let mut encoded = Self::default();
        let put = (0_u8, name, LegacyRecord::from(record));
        encoded.copied = postcard::to_stdvec(&put).unwrap();
        encoded
            .entry(&EntryRef::Append(record.id, 0, data.len() as u64))
            .unwrap();
        encoded.bytes(&Bytes::from_static(data.as_bytes()));
        encoded
    }
}

/// Takes names as they are written.
#[cfg(any(test, fuzzing))]
pub(crate) struct VerbatimNames;

#[cfg(any(test, fuzzing))]
impl ResolveNames for VerbatimNames {
    fn legacy_put(&mut self, written: &str, _id: StreamId) -> Result<StreamName, DecodeError> {
        DecodeError::parse_name(written)
    }

    fn put(&mut self, written: &str, _id: StreamId) -> Result<StreamName, DecodeError> {
        DecodeError::parse_name(written)
    }

    fn removed(&mut self, written: &str, _id: StreamId) -> Result<StreamName, DecodeError> {
        DecodeError::parse_name(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        ProducerState, Retention,
        contract::{Driver, Model},
    };

    #[test]
    fn a_batch_survives_a_round_trip() {
        let mut driver = Driver::new(5);
        let mut model = Model::default();
        for _ in 0..200 {
            let batch = driver.batch(&mut model, 20_000);
            let encoded = Encoded::batch(&batch).unwrap();
            let content: Vec<u8> = encoded.parts().flatten().copied().collect();
            assert_eq!(content.len() as u64, encoded.len());
            let decoded = decode(&Bytes::from(content), &mut VerbatimNames).unwrap().batch;
            assert_eq!(decoded.len(), batch.len());
            for (decoded, original) in decoded.iter().zip(&batch) {
                assert_eq!(format!("{decoded:?}"), format!("{original:?}"));
            }
        }
    }

    #[test]
    fn legacy_records_are_read() {
        let mut record = crate::storage::contract::record(7);
        let name = crate::storage::contract::name("a");
        let retention = Retention {
            earliest: 3,
            ..Retention::default()
        };
        let legacy = LegacyRecord::from(&record);
        let mut encoded = Encoded::default();
        encoded.entry(&EntryRef::LegacyPut(&name, &legacy)).unwrap();
        encoded
            .entry(&EntryRef::LegacyPutWithRetention(
                &name,
                &legacy,
                &StoredRetention::from(&retention),
            ))
            .unwrap();
        let content: Vec<u8> = encoded.parts().flatten().copied().collect();
        let decoded = decode(&Bytes::from(content), &mut VerbatimNames).unwrap().batch;
        record.framing = crate::protocol::Framing::NONE;
        let plain = crate::storage::contract::put("a", record.clone());
        record.retention = Some(Box::new(retention));
        let trimmed = crate::storage::contract::put("a", record);
        assert_eq!(format!("{decoded:?}"), format!("{:?}", [plain, trimmed]));
    }

    #[test]
    fn legacy_producers_are_read() {
        let state = ProducerState { epoch: 3, seq: 9 };
        let mut encoded = Encoded::default();
        encoded.entry(&EntryRef::LegacyProducer(7, "p", state.into())).unwrap();
        let content: Vec<u8> = encoded.parts().flatten().copied().collect();
        assert_eq!(content[0], 2);
        let decoded = decode(&Bytes::from(content), &mut VerbatimNames).unwrap().batch;
        let expected = crate::storage::contract::producer(7, "p", state, 0);
        assert_eq!(format!("{decoded:?}"), format!("{:?}", [expected]));
    }

    #[test]
    fn garbage_is_an_error_and_never_panics() {
        let batch = [crate::storage::contract::append(7, 9, "hello")];
        let encoded = Encoded::batch(&batch).unwrap();
        let content: Vec<u8> = encoded.parts().flatten().copied().collect();
        for cut in 1..content.len() {
            assert!(
                decode(&Bytes::copy_from_slice(&content[..cut]), &mut VerbatimNames).is_err(),
                "{cut}"
            );
        }
        let mut driver = Driver::new(11);
        for _ in 0..5000 {
            let len = driver.below(60);
            let noise: Vec<u8> = (0..len).map(|_| driver.below(256) as u8).collect();
            let _ = decode(&Bytes::from(noise), &mut VerbatimNames);
        }
    }
}
