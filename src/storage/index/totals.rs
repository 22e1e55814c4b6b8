//! The format of an index and the totals of its store.

use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _};

use super::schema::{
    FORMAT, GARBAGE, META, META_APPLIED, META_BYTES, META_CREDIT, META_FORMAT, META_NEXT_ID, NAMES, TRIMMED,
};

/// Totals of the whole store.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// The last journal record that the index contains.
    pub(crate) applied: u64,
    pub(crate) next_id: u64,
    pub(crate) streams: u64,
    pub(crate) bytes: u64,
    /// The space inside the index that may be used while the disk is full.
    pub(crate) credit: u64,
    /// Whether there is work for [`reclaim`](super::reclaim()).
    pub(crate) garbage: bool,
}

/// The header of an index.
pub(super) enum Header {
    Current(Totals),
    OtherFormat(u64),
}

pub(super) fn read_header(db: &Database) -> Result<Header, redb::Error> {
    let txn = db.begin_read()?;
    let meta = txn.open_table(META)?;
    let number = |key: &str| -> Result<u64, redb::Error> { Ok(meta.get(key)?.map_or(0, |number| number.value())) };
    let format = number(META_FORMAT)?;
    if format != FORMAT {
        return Ok(Header::OtherFormat(format));
    }
    Ok(Header::Current(Totals {
        applied: number(META_APPLIED)?,
        next_id: number(META_NEXT_ID)?.max(1),
        streams: txn.open_table(NAMES)?.len()?,
        bytes: number(META_BYTES)?,
        credit: number(META_CREDIT)?,
        garbage: !txn.open_table(GARBAGE)?.is_empty()? || !txn.open_table(TRIMMED)?.is_empty()?,
    }))
}
