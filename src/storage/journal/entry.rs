//! How a batch is written to the journal. `docs/storage.md` is the reference.
//!
//! A batch is its entries one after the other, each in postcard's encoding, and behind the
//! entry of an append its bytes as they are.

use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    protocol::StreamName,
    storage::{
        Change, Position, ProducerState, Progress, Retention, StreamId, StreamRecord, WriterState,
        legacy_record::EarlierRecord,
    },
};

/// Pieces from this size on are written from where they lie; smaller ones are cheaper to copy.
const SHARE_FROM: usize = 4 * 1024;

/// What is in the journal, as written.
#[derive(Serialize)]
#[cfg_attr(not(test), allow(dead_code))] // variants that are no longer written keep the numbers of the others
enum EntryRef<'a> {
    PutEarlier(&'a StreamName, &'a EarlierRecord),
    Append(StreamId, Position, u64),
    Producer(StreamId, &'a str, ProducerState),
    Remove(&'a StreamName, StreamId),
    NextId(StreamId),
    PutEarlierWithRetention(&'a StreamName, &'a EarlierRecord, &'a Retention),
    Put(&'a StreamName, &'a StreamRecord),
    Writer(StreamId, &'a str, Option<&'a WriterState>),
}

/// The same, as read. The order of the variants is the format.
#[derive(Deserialize)]
enum EntryOwned {
    PutEarlier(String, EarlierRecord),
    Append(StreamId, Position, u64),
    Producer(StreamId, String, ProducerState),
    Remove(String, StreamId),
    NextId(StreamId),
    PutEarlierWithRetention(String, EarlierRecord, Box<Retention>),
    Put(String, StreamRecord),
    Writer(StreamId, String, Option<WriterState>),
}

/// What a journal record says.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// The steps of a batch.
    pub(crate) batch: Vec<Change>,
    /// Ids below this one may be in use.
    pub(crate) next_id: StreamId,
}

/// A journal record's content, ready to be written without copying what is large.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// What is not shared, in order.
    copied: Vec<u8>,
    /// What is, and before which place in `copied` it belongs.
    shared: Vec<(usize, Bytes)>,
}

impl Encoded {
    pub(crate) fn batch(batch: &[Change]) -> Result<Self, postcard::Error> {
        let mut encoded = Self {
            copied: Vec::with_capacity(64 * batch.len()),
            shared: Vec::new(),
        };
        for change in batch {
            match change {
                Change::Put { name, record } => encoded.entry(&EntryRef::Put(name, record))?,
                Change::Append { id, at, data } => {
                    let len = data.iter().map(|piece| piece.len() as u64).sum();
                    encoded.entry(&EntryRef::Append(*id, *at, len))?;
                    data.iter().for_each(|piece| encoded.bytes(piece));
                }
                Change::Writer { id, key, state } => {
                    encoded.entry(&EntryRef::Writer(*id, key, state.as_ref()))?;
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
        if piece.len() < SHARE_FROM {
            self.copied.extend_from_slice(piece);
        } else {
            self.shared.push((self.copied.len(), piece.clone()));
        }
    }

    /// How many bytes it is.
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

/// Finds the name of a stream from how the journal has it.
pub(crate) trait Names {
    /// Of a stream that a version before format 3 of the index has put.
    fn of_earlier(&mut self, written: &str, id: StreamId) -> Result<StreamName, String>;
    fn of_put(&mut self, written: &str, id: StreamId) -> Result<StreamName, String>;
    fn of_removed(&mut self, written: &str, id: StreamId) -> Result<StreamName, String>;
}

/// Reads a journal record's content.
pub(crate) fn decode(content: &Bytes, names: &mut impl Names) -> Result<Decoded, String> {
    let mut decoded = Decoded::default();
    let mut rest = content.clone();
    while !rest.is_empty() {
        let (entry, behind) =
            postcard::take_from_bytes::<EntryOwned>(&rest).map_err(|error| format!("an entry: {error}"))?;
        let used = rest.len() - behind.len();
        let mut behind = rest.split_off(used);
        decoded.batch.push(match entry {
            EntryOwned::Put(name, record) => Change::Put {
                name: names.of_put(&name, record.id)?,
                record,
            },
            EntryOwned::PutEarlier(name, record) => Change::Put {
                name: names.of_earlier(&name, record.id())?,
                record: record.renew(None),
            },
            EntryOwned::PutEarlierWithRetention(name, record, retention) => Change::Put {
                name: names.of_earlier(&name, record.id())?,
                record: record.renew(Some(retention)),
            },
            EntryOwned::Append(id, at, len) => {
                let len = usize::try_from(len).ok().filter(|len| *len <= behind.len());
                let data = behind.split_to(len.ok_or("an append is longer than its record")?);
                Change::Append {
                    id,
                    at,
                    data: vec![data],
                }
            }
            EntryOwned::Producer(id, key, state) => Change::Writer {
                id,
                key,
                state: Some(WriterState {
                    progress: Progress::Producer(state),
                    used_at: 0,
                }),
            },
            EntryOwned::Writer(id, key, state) => Change::Writer { id, key, state },
            EntryOwned::Remove(name, id) => Change::Remove {
                name: names.of_removed(&name, id)?,
                id,
            },
            EntryOwned::NextId(next) => {
                decoded.next_id = next;
                rest = behind;
                continue;
            }
        });
        rest = behind;
    }
    Ok(decoded)
}

#[cfg(test)]
impl Encoded {
    /// A stream and its bytes as a version before format 3 of the index wrote them.
    pub(crate) fn earlier(name: &str, record: &StreamRecord, data: &'static str) -> Self {
        let mut encoded = Self::default();
        let put = (0_u8, name, EarlierRecord::from(record));
        encoded.copied = postcard::to_stdvec(&put).unwrap();
        encoded
            .entry(&EntryRef::Append(record.id, 0, data.len() as u64))
            .unwrap();
        encoded.bytes(&Bytes::from_static(data.as_bytes()));
        encoded
    }
}

/// Names as they are written.
#[cfg(any(test, fuzzing))]
pub(crate) struct AsWritten;

#[cfg(any(test, fuzzing))]
impl Names for AsWritten {
    fn of_earlier(&mut self, written: &str, _id: StreamId) -> Result<StreamName, String> {
        StreamName::new(written).map_err(|error| error.to_string())
    }

    fn of_put(&mut self, written: &str, id: StreamId) -> Result<StreamName, String> {
        self.of_earlier(written, id)
    }

    fn of_removed(&mut self, written: &str, id: StreamId) -> Result<StreamName, String> {
        self.of_earlier(written, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::contract::{Driver, Model};

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut driver = Driver::new(5);
        let mut model = Model::default();
        for _ in 0..200 {
            let batch = driver.batch(&mut model, 20_000);
            let encoded = Encoded::batch(&batch).unwrap();
            let content: Vec<u8> = encoded.parts().flatten().copied().collect();
            assert_eq!(content.len() as u64, encoded.len());
            let decoded = decode(&Bytes::from(content), &mut AsWritten).unwrap().batch;
            assert_eq!(decoded.len(), batch.len());
            for (decoded, original) in decoded.iter().zip(&batch) {
                assert_eq!(format!("{decoded:?}"), format!("{original:?}"));
            }
        }
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let mut record = crate::storage::contract::record(7);
        let name = crate::storage::contract::name("a");
        let retention = Retention {
            earliest: 3,
            ..Retention::default()
        };
        let earlier = EarlierRecord::from(&record);
        let mut encoded = Encoded::default();
        encoded.entry(&EntryRef::PutEarlier(&name, &earlier)).unwrap();
        encoded
            .entry(&EntryRef::PutEarlierWithRetention(&name, &earlier, &retention))
            .unwrap();
        let content: Vec<u8> = encoded.parts().flatten().copied().collect();
        let decoded = decode(&Bytes::from(content), &mut AsWritten).unwrap().batch;
        record.framing = crate::protocol::Framing::NONE;
        let plain = crate::storage::contract::put("a", record.clone());
        record.retention = Some(Box::new(retention));
        let trimmed = crate::storage::contract::put("a", record);
        assert_eq!(format!("{decoded:?}"), format!("{:?}", [plain, trimmed]));
    }

    #[test]
    fn producers_of_earlier_versions_are_read() {
        let state = ProducerState { epoch: 3, seq: 9 };
        let mut encoded = Encoded::default();
        encoded.entry(&EntryRef::Producer(7, "p", state)).unwrap();
        let content: Vec<u8> = encoded.parts().flatten().copied().collect();
        assert_eq!(content[0], 2);
        let decoded = decode(&Bytes::from(content), &mut AsWritten).unwrap().batch;
        let expected = crate::storage::contract::producer(7, "p", state, 0);
        assert_eq!(format!("{decoded:?}"), format!("{:?}", [expected]));
    }

    #[test]
    fn nonsense_is_an_error_and_nothing_worse() {
        let batch = [crate::storage::contract::append(7, 9, "hello")];
        let encoded = Encoded::batch(&batch).unwrap();
        let content: Vec<u8> = encoded.parts().flatten().copied().collect();
        for cut in 1..content.len() {
            assert!(
                decode(&Bytes::copy_from_slice(&content[..cut]), &mut AsWritten).is_err(),
                "{cut}"
            );
        }
        let mut driver = Driver::new(11);
        for _ in 0..5000 {
            let len = driver.below(60);
            let noise: Vec<u8> = (0..len).map(|_| driver.below(256) as u8).collect();
            let _ = decode(&Bytes::from(noise), &mut AsWritten);
        }
    }
}
