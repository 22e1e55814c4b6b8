//! How names were spelled, and the keys of indexes of former versions.
//!
//! Names are keys in the form in which they are compared ([`canonical`]). The spelling of a
//! stream's creator has a row of its own where it is another, which is seldom.

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError};

use super::{DUE, META, NAMES, schema::decode_record, write};
use crate::{
    protocol::{StreamName, name::canonical},
    storage::StreamId,
};

/// Name → its spelling, where that is not the name itself.
pub(super) const SPELLINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("spellings");

pub(super) type SpellingsRead = redb::ReadOnlyTable<&'static str, &'static str>;

/// In [`META`]: 1 when every name is in the form in which names are compared.
const META_CANONICAL: &str = "canonical_names";

/// The spellings; `None` when there are none.
pub(super) fn open(txn: &redb::ReadTransaction) -> Result<Option<SpellingsRead>, redb::Error> {
    match txn.open_table(SPELLINGS) {
        Ok(table) if table.is_empty()? => Ok(None),
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The names that a stream of a former version may have today; it has the first that is free.
pub(crate) fn candidates(former: &str, id: StreamId) -> impl Iterator<Item = StreamName> {
    let canonical = canonical(former);
    [former.to_owned(), format!("{canonical}~{id}"), format!("renamed~{id}")]
        .into_iter()
        .filter_map(|name| StreamName::new(&name).ok())
}

/// Tells the operator when a stream is reached by another name.
pub(crate) fn warn_of_change(former: &str, now: &StreamName) {
    if StreamName::new(former).as_ref() != Ok(now) {
        tracing::warn!(
            stream = former,
            %now,
            "renamed, because its name is not allowed any longer or differs from another stream's in slashes only"
        );
    }
}

/// Brings the names of an index that a former version wrote into the form in which they are
/// compared: that version took `a//b` for another stream than `a/b`, and had names that are refused
/// today.
pub(super) fn settle(db: &Database) -> Result<(), redb::Error> {
    let others = {
        let txn = db.begin_read()?;
        if txn.open_table(META)?.get(META_CANONICAL)?.is_some() {
            return Ok(());
        }
        let mut others = Vec::new();
        for row in txn.open_table(NAMES)?.iter()? {
            let (row, _) = row?;
            let name = StreamName::new(row.value());
            if !name.is_ok_and(|name| name.key() == row.value()) {
                others.push(row.value().to_owned());
            }
        }
        others
    };
    let nothing_to_do = others.is_empty();
    match rename(db, &others) {
        // A full disk keeps nobody from reading; the next start looks again.
        Err(error) if nothing_to_do => {
            tracing::debug!(%error, "could not note that all names are settled");
            Ok(())
        }
        done => done,
    }
}

fn rename(db: &Database, others: &[String]) -> Result<(), redb::Error> {
    let txn = write::begin(db)?;
    {
        let mut names = txn.open_table(NAMES)?;
        let mut due = txn.open_table(DUE)?;
        let mut spellings = txn.open_table(SPELLINGS)?;
        for old in others {
            let Some(row) = names.remove(old.as_str())?.map(|row| row.value().to_vec()) else {
                continue;
            };
            let record = decode_record(old, &row)?;
            let mut now = None;
            for name in candidates(old, record.id) {
                if names.get(name.key())?.is_none() {
                    now = Some(name);
                    break;
                }
            }
            let now = now.ok_or_else(|| redb::Error::Corrupted(format!("no name is left for `{old}`")))?;
            warn_of_change(old, &now);
            names.insert(now.key(), row.as_slice())?;
            write(&mut spellings, &now)?;
            if let Some(at) = record.due_at {
                due.remove((at, old.as_str()))?;
                due.insert((at, now.key()), ())?;
            }
        }
    }
    txn.open_table(META)?.insert(META_CANONICAL, 1)?;
    txn.commit()?;
    Ok(())
}

/// Notes how a name is spelled.
pub(super) fn write(
    table: &mut redb::Table<'_, &'static str, &'static str>,
    name: &StreamName,
) -> Result<(), redb::Error> {
    if name.as_str() == name.key() {
        table.remove(name.key())?;
    } else {
        table.insert(name.key(), name.as_str())?;
    }
    Ok(())
}

/// Makes the index one whose names a former version wrote.
#[cfg(test)]
pub(crate) fn make_former(path: &std::path::Path, renamed: &[(&str, &str)]) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.delete_table(SPELLINGS).unwrap();
    txn.open_table(META).unwrap().remove(META_CANONICAL).unwrap();
    for (now, former) in renamed {
        let mut names = txn.open_table(NAMES).unwrap();
        let row = names.remove(*now).unwrap().unwrap().value().to_vec();
        names.insert(*former, row.as_slice()).unwrap();
        let mut due = txn.open_table(DUE).unwrap();
        if let Some(at) = decode_record(former, &row).unwrap().due_at {
            due.remove((at, *now)).unwrap();
            due.insert((at, *former), ()).unwrap();
        }
    }
    txn.commit().unwrap();
}
