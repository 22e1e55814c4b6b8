//! Values as the database keeps them.

use crate::{
    protocol::StreamName,
    storage::{
        Position, Progress, StorageError, Stored, StreamRecord, WriterState,
        format::{StoredProgress, StoredRecord},
    },
};

/// The first byte of a record; a [`StoredRecord`] follows.
const RECORD: u8 = 3;

/// PostgreSQL's integers have a sign. Ids and positions are far below the limit; a time beyond it means never.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) fn encode_record(record: &StreamRecord) -> Result<Vec<u8>, StorageError> {
    postcard::to_extend(&StoredRecord::from(record), vec![RECORD])
        .map_err(|error| StorageError::Encode(Box::new(error)))
}

pub(super) fn decode_record(what: impl std::fmt::Display, bytes: &[u8]) -> Result<StreamRecord, StorageError> {
    match bytes.split_first() {
        Some((&RECORD, rest)) => postcard::from_bytes::<StoredRecord<'_>>(rest)
            .map(Into::into)
            .map_err(|error| StorageError::Malformed {
                what: format!("the record of {what}"),
                source: error.into(),
            }),
        Some((encoding, _)) => Err(StorageError::Corrupt(format!(
            "the record of {what} has the unknown encoding {encoding}"
        ))),
        None => Err(StorageError::Corrupt(format!("the record of {what} is empty"))),
    }
}

pub(super) fn encode_progress(progress: &Progress) -> Result<Vec<u8>, StorageError> {
    postcard::to_stdvec(&StoredProgress::from(progress)).map_err(|error| StorageError::Encode(Box::new(error)))
}

pub(super) fn decode_writer(key: &[u8], progress: &[u8], used_at: i64) -> Result<(String, WriterState), StorageError> {
    let malformed = |source| StorageError::Malformed {
        what: "a writer".to_owned(),
        source,
    };
    let key = std::str::from_utf8(key).map_err(|error| malformed(error.into()))?;
    let progress: StoredProgress<'_> = postcard::from_bytes(progress).map_err(|error| malformed(error.into()))?;
    let state = WriterState {
        progress: progress.into(),
        used_at: unsigned(used_at),
    };
    Ok((key.to_owned(), state))
}

/// A stream as a row has it.
pub(super) fn stored(name: &str, record: &[u8], rev: i64, tail: i64) -> Result<Stored, StorageError> {
    Ok(Stored {
        record: decode_record(format_args!("`{name}`"), record)?,
        tail: unsigned(tail) as Position,
        rev: unsigned(rev),
    })
}

pub(super) fn stream_name(name: &str) -> Result<StreamName, StorageError> {
    StreamName::stored(name).map_err(|error| StorageError::Malformed {
        what: format!("the name `{name}`"),
        source: error.into(),
    })
}

/// A key greater than all that begin with `prefix`, and smaller than all others; `None`: there is none.
pub(super) fn end_of(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        // Surrogates are no characters.
        let next = (u32::from(last) + 1..=0x10_ffff).find_map(char::from_u32);
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_just_above_it() {
        assert_eq!(end_of(""), None);
        assert_eq!(end_of("a/").as_deref(), Some("a0"));
        assert_eq!(end_of("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(end_of("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(end_of("\u{10ffff}"), None);
    }

    #[test]
    fn numbers_beyond_the_range_mean_the_limit() {
        assert_eq!(signed(u64::MAX), i64::MAX);
        assert_eq!(unsigned(signed(7)), 7);
        assert_eq!(unsigned(-1), 0);
    }
}
