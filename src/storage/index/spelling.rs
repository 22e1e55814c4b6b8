//! The spelling of names, and the names of legacy indexes.
//!
//! The keys of the index are names in their [`canonical`] form. If a stream was created under
//! another spelling, which is rare, that has a row of its own.

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableError};

use super::schema::{DUE, META, NAMES, begin_write, decode_record};
use crate::{
    protocol::{StreamName, name::canonical},
    storage::StreamId,
};

/// Name → its spelling, if that differs.
pub(super) const SPELLINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("spellings");

pub(super) type SpellingsRead = redb::ReadOnlyTable<&'static str, &'static str>;

/// In [`META`]: 1 once every name is canonical.
pub(super) const META_CANONICAL: &str = "canonical_names";

/// The spellings; `None` if there are none.
pub(super) fn open(txn: &redb::ReadTransaction) -> Result<Option<SpellingsRead>, redb::Error> {
    match txn.open_table(SPELLINGS) {
        Ok(table) if table.is_empty()? => Ok(None),
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The names that a stream of a legacy version may have today. It has the first one that is free.
pub(crate) fn candidate_names(legacy: &str, id: StreamId) -> impl Iterator<Item = StreamName> {
    let canonical = canonical(legacy);
    [legacy.to_owned(), format!("{canonical}~{id}"), format!("renamed~{id}")]
        .into_iter()
        .filter_map(|name| StreamName::new(&name).ok())
}

/// Logs a stream that is reached by another name.
pub(crate) fn warn_renamed(legacy: &str, now: &StreamName) {
    if StreamName::new(legacy).as_ref() != Ok(now) {
        tracing::warn!(
            stream = legacy,
            %now,
            "renamed a stream: its name is no longer allowed, or differs from another stream's only in slashes"
        );
    }
}

/// Makes the names of a legacy index canonical. Legacy versions treated `a//b` and `a/b` as two
/// streams and accepted names that are refused today.
pub(super) fn canonicalize_names(db: &Database) -> Result<(), redb::Error> {
    let noncanonical = {
        let txn = db.begin_read()?;
        if txn.open_table(META)?.get(META_CANONICAL)?.is_some() {
            return Ok(());
        }
        let mut noncanonical = Vec::new();
        for row in txn.open_table(NAMES)?.iter()? {
            let (row, _) = row?;
            let name = StreamName::stored(row.value());
            if !name.is_ok_and(|name| name.key() == row.value()) {
                noncanonical.push(row.value().to_owned());
            }
        }
        noncanonical
    };
    let nothing_to_do = noncanonical.is_empty();
    match rename(db, &noncanonical) {
        // A full disk must not prevent reads; the next start checks again.
        Err(error) if nothing_to_do => {
            tracing::debug!(%error, "could not save that all names are canonical");
            Ok(())
        }
        done => done,
    }
}

fn rename(db: &Database, names_to_change: &[String]) -> Result<(), redb::Error> {
    let txn = begin_write(db)?;
    {
        let mut names = txn.open_table(NAMES)?;
        let mut due = txn.open_table(DUE)?;
        let mut spellings = txn.open_table(SPELLINGS)?;
        for old in names_to_change {
            let Some(row) = names.remove(old.as_str())?.map(|row| row.value().to_vec()) else {
                continue;
            };
            let record = decode_record(old, &row)?;
            let mut now = None;
            for name in candidate_names(old, record.id) {
                if names.get(name.key())?.is_none() {
                    now = Some(name);
                    break;
                }
            }
            let now = now.ok_or_else(|| redb::Error::Corrupted(format!("there is no free name for `{old}`")))?;
            warn_renamed(old, &now);
            names.insert(now.key(), row.as_slice())?;
            save(&mut spellings, &now)?;
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

/// Saves the spelling of a name.
pub(super) fn save(
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
