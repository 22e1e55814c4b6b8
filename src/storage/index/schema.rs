//! The tables and the encoding of their rows. `docs/storage.md` is the reference.

use redb::{Database, ReadOnlyTable, Table, TableDefinition, WriteTransaction};

use crate::storage::{
    StorageError, StreamRecord, WriterState,
    format::{StoredRecord, StoredRetention, StoredWriter, legacy::LegacyRecord},
};

/// The format that this version writes. It also reads 1 and 2.
pub(crate) const FORMAT: u64 = 3;

/// Name → record (see [`encode_record`]).
pub(super) const NAMES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("names");

/// Stream and position → the bytes beginning there. Every stream without a data file has at least
/// one row, possibly empty, so the tail is always the end of the last row or of the file.
pub(super) const DATA: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("data");

/// Stream → the position of its data file's first byte, and the number of valid bytes.
pub(super) const FILES: TableDefinition<'_, u64, (u64, u64)> = TableDefinition::new("files");

/// Stream and writer → its state (see [`encode_writer`]).
pub(super) const WRITERS: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("writers");

/// Formats 1 and 2: stream and producer → epoch and sequence number.
pub(super) const PRODUCERS: TableDefinition<'_, (u64, &str), (u64, u64)> = TableDefinition::new("producers");

/// When a stream is due, and its name.
pub(super) const DUE: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("due");

/// Removed streams whose bytes and writers are still to be deleted.
pub(super) const GARBAGE: TableDefinition<'_, u64, ()> = TableDefinition::new("garbage");

/// Trimmed streams whose bytes are still to be freed → the first position to keep.
pub(super) const TRIMMED: TableDefinition<'_, u64, u64> = TableDefinition::new("trimmed");

/// Streams whose data files had lost bytes at a checkpoint → the range that is lost. Bytes
/// acknowledged later follow it.
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

/// In [`META`]: the bytes freed inside the index since the disk last had space.
pub(super) const META_CREDIT: &str = "credit";

pub(super) type NamesRead = ReadOnlyTable<&'static str, &'static [u8]>;
pub(super) type DataRead = ReadOnlyTable<(u64, u64), &'static [u8]>;
pub(super) type FilesRead = ReadOnlyTable<u64, (u64, u64)>;
pub(super) type WritersRead = ReadOnlyTable<(u64, &'static str), &'static [u8]>;
pub(super) type DueRead = ReadOnlyTable<(u64, &'static str), ()>;
pub(super) type GarbageRead = ReadOnlyTable<u64, ()>;
pub(super) type HolesRead = ReadOnlyTable<u64, (u64, u64)>;
pub(super) type Data<'t> = Table<'t, (u64, u64), &'static [u8]>;

/// The first byte of a row of [`NAMES`]: a [`LegacyRecord`] follows,
const LEGACY: u8 = 1;
/// a [`LegacyRecord`] and a [`StoredRetention`],
const LEGACY_WITH_RETENTION: u8 = 2;
/// or a [`StoredRecord`].
const RECORD: u8 = 3;

pub(super) fn encode_record(record: &StreamRecord) -> Result<Vec<u8>, redb::Error> {
    postcard::to_extend(&StoredRecord::from(record), vec![RECORD])
        .map_err(|error| redb::Error::Corrupted(format!("a record cannot be encoded: {error}")))
}

/// The encoding of formats 1 and 2.
#[cfg(test)]
pub(super) fn encode_legacy(record: &StreamRecord) -> Vec<u8> {
    let legacy = LegacyRecord::from(record);
    match &record.retention {
        None => postcard::to_extend(&legacy, vec![LEGACY]),
        Some(retention) => {
            let retention = StoredRetention::from(&**retention);
            postcard::to_extend(&(legacy, retention), vec![LEGACY_WITH_RETENTION])
        }
    }
    .unwrap()
}

pub(super) fn decode_record(name: &str, bytes: &[u8]) -> Result<StreamRecord, redb::Error> {
    let damaged = |what: String| redb::Error::Corrupted(format!("the record of `{name}`: {what}"));
    let decoded = match bytes.split_first() {
        Some((&RECORD, rest)) => postcard::from_bytes::<StoredRecord<'_>>(rest).map(Into::into),
        Some((&LEGACY, rest)) => postcard::from_bytes(rest).map(|record: LegacyRecord| record.upgrade(None)),
        Some((&LEGACY_WITH_RETENTION, rest)) => {
            let both: Result<(LegacyRecord, StoredRetention), _> = postcard::from_bytes(rest);
            both.map(|(record, retention)| record.upgrade(Some(retention)))
        }
        Some((encoding, _)) => return Err(damaged(format!("unknown encoding {encoding}"))),
        None => return Err(damaged("empty".to_owned())),
    };
    decoded.map_err(|error| damaged(error.to_string()))
}

pub(super) fn encode_writer(state: &WriterState) -> Result<Vec<u8>, redb::Error> {
    postcard::to_extend(&StoredWriter::from(state), Vec::new())
        .map_err(|error| redb::Error::Corrupted(format!("a writer cannot be encoded: {error}")))
}

pub(super) fn decode_writer(id: u64, bytes: &[u8]) -> Result<WriterState, redb::Error> {
    postcard::from_bytes::<StoredWriter<'_>>(bytes)
        .map(Into::into)
        .map_err(|error| redb::Error::Corrupted(format!("a writer of stream {id}: {error}")))
}

/// Begins a transaction after which a crash needs no full repair.
pub(super) fn begin_write(db: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}

/// Converts an error of redb.
pub(crate) fn storage_error(context: &str, error: redb::Error) -> StorageError {
    let io = |source| StorageError::Io {
        context: context.to_owned(),
        source,
    };
    let malformed = |source| StorageError::Malformed {
        what: context.to_owned(),
        source,
    };
    match error {
        // redb reports a file that is not a database this way.
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => malformed(source.into()),
        redb::Error::Io(source) => io(source),
        redb::Error::Corrupted(what) => StorageError::Corrupt(what),
        error @ (redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::DatabaseAlreadyOpen) => {
            io(std::io::Error::other(error))
        }
        error => malformed(error.into()),
    }
}

/// Whether the database has to be reopened before further use.
pub(crate) fn needs_reopen(error: &redb::Error) -> bool {
    matches!(
        error,
        redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed
    )
}
