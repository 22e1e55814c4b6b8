//! The tables, and how a record is written. `docs/storage.md` is the reference.

use redb::{ReadOnlyTable, Table, TableDefinition};

use crate::storage::{Retention, StorageError, StreamRecord, WriterState, legacy_record::EarlierRecord};

/// The format that this version writes, and the newest that it reads. It reads 1 and 2 as well.
pub(crate) const FORMAT: u64 = 3;

/// Name → record (see [`encode_record`]).
pub(super) const NAMES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("names");

/// Stream and position → the bytes from there on. Every stream has at least one row, if an
/// empty one at its start, so that a tail is always the end of the last row, or of the file.
pub(super) const DATA: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("data");

/// Stream → where its data file begins, and how many bytes of the file count.
pub(super) const FILES: TableDefinition<'_, u64, (u64, u64)> = TableDefinition::new("files");

/// Stream and writer → where it stands (see [`encode_writer`]).
pub(super) const WRITERS: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("writers");

/// Formats 1 and 2: stream and producer → epoch and sequence number.
pub(super) const PRODUCERS: TableDefinition<'_, (u64, &str), (u64, u64)> = TableDefinition::new("producers");

/// When a stream is due, and its name.
pub(super) const DUE: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("due");

/// Removed streams whose bytes and writers are still there.
pub(super) const GARBAGE: TableDefinition<'_, u64, ()> = TableDefinition::new("garbage");

/// Streams that have given up a part of their past and still hold it → the first position kept.
pub(super) const TRIMMED: TableDefinition<'_, u64, u64> = TableDefinition::new("trimmed");

/// Streams whose data files had become shorter than what counted of them → from where to where
/// their bytes are lost. Bytes acknowledged later follow them.
pub(super) const HOLES: TableDefinition<'_, u64, (u64, u64)> = TableDefinition::new("holes");

/// Numbers about the store, by the keys below.
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// In [`META`]: the [`FORMAT`].
pub(super) const META_FORMAT: &str = "format";

/// In [`META`]: the last journal record that the tables contain.
pub(super) const META_APPLIED: &str = "applied";

/// In [`META`]: the lowest id never handed out.
pub(super) const META_NEXT_ID: &str = "next_id";

/// In [`META`]: the bytes of all streams.
pub(super) const META_BYTES: &str = "bytes";

/// In [`META`]: the bytes given back inside of the index since the disk last had room.
pub(super) const META_CREDIT: &str = "credit";

pub(super) type NamesRead = ReadOnlyTable<&'static str, &'static [u8]>;
pub(super) type DataRead = ReadOnlyTable<(u64, u64), &'static [u8]>;
pub(super) type FilesRead = ReadOnlyTable<u64, (u64, u64)>;
pub(super) type WritersRead = ReadOnlyTable<(u64, &'static str), &'static [u8]>;
pub(super) type DueRead = ReadOnlyTable<(u64, &'static str), ()>;
pub(super) type GarbageRead = ReadOnlyTable<u64, ()>;
pub(super) type HolesRead = ReadOnlyTable<u64, (u64, u64)>;
pub(super) type Data<'t> = Table<'t, (u64, u64), &'static [u8]>;

/// The first byte of an encoded record: an [`EarlierRecord`] and nothing else follows,
const EARLIER: u8 = 1;
/// an [`EarlierRecord`] and its [`Retention`],
const EARLIER_WITH_RETENTION: u8 = 2;
/// or a [`StreamRecord`].
const RECORD: u8 = 3;

pub(super) fn encode_record(record: &StreamRecord) -> Result<Vec<u8>, redb::Error> {
    postcard::to_extend(record, vec![RECORD])
        .map_err(|error| redb::Error::Corrupted(format!("a record cannot be written: {error}")))
}

/// As formats 1 and 2 have it.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) fn encode_earlier(record: &StreamRecord) -> Vec<u8> {
    let earlier = EarlierRecord::from(record);
    match &record.retention {
        None => postcard::to_extend(&earlier, vec![EARLIER]),
        Some(retention) => postcard::to_extend(&(earlier, retention), vec![EARLIER_WITH_RETENTION]),
    }
    .unwrap()
}

pub(super) fn decode_record(name: &str, bytes: &[u8]) -> Result<StreamRecord, redb::Error> {
    let damaged = |what: String| redb::Error::Corrupted(format!("the record of `{name}`: {what}"));
    let decoded = match bytes.split_first() {
        Some((&RECORD, rest)) => postcard::from_bytes(rest),
        Some((&EARLIER, rest)) => postcard::from_bytes(rest).map(|record: EarlierRecord| record.renew(None)),
        Some((&EARLIER_WITH_RETENTION, rest)) => {
            let both: Result<(EarlierRecord, Box<Retention>), _> = postcard::from_bytes(rest);
            both.map(|(record, retention)| record.renew(Some(retention)))
        }
        Some((version, _)) => return Err(damaged(format!("unknown encoding {version}"))),
        None => return Err(damaged("empty".to_owned())),
    };
    decoded.map_err(|error| damaged(error.to_string()))
}

pub(super) fn encode_writer(state: &WriterState) -> Result<Vec<u8>, redb::Error> {
    postcard::to_extend(state, Vec::new())
        .map_err(|error| redb::Error::Corrupted(format!("a writer cannot be written: {error}")))
}

pub(super) fn decode_writer(id: u64, bytes: &[u8]) -> Result<WriterState, redb::Error> {
    postcard::from_bytes(bytes).map_err(|error| redb::Error::Corrupted(format!("a writer of stream {id}: {error}")))
}

/// What redb says, in the store's terms.
pub(crate) fn storage_error(context: &str, error: redb::Error) -> StorageError {
    let io = |source| StorageError::Io {
        context: context.to_owned(),
        source,
    };
    match error {
        // How redb says that the first bytes are not its own.
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            StorageError::Corrupt(format!("{context}: {source}"))
        }
        redb::Error::Io(source) => io(source),
        redb::Error::Corrupted(what) => StorageError::Corrupt(what),
        error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::DatabaseAlreadyOpen) => {
            io(std::io::Error::other(error))
        }
        error => StorageError::Corrupt(format!("{context}: {error}")),
    }
}

/// Whether the database must be opened anew before it can be used again.
pub(crate) fn needs_reopen(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed
    )
}
