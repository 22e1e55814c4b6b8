//! Indexes as other versions wrote them.

use std::path::Path;

use redb::{Database, ReadableDatabase as _, ReadableTable as _};

use super::{
    schema::{self, DUE, HOLES, META, META_FORMAT, NAMES, PRODUCERS, TRIMMED, WRITERS},
    spelling::{META_CANONICAL, SPELLINGS},
};
use crate::storage::{ProducerState, Progress};

pub(crate) fn format(path: &Path) -> u64 {
    let db = Database::open(path).unwrap();
    let txn = db.begin_read().unwrap();
    txn.open_table(META).unwrap().get(META_FORMAT).unwrap().unwrap().value()
}

pub(crate) fn set_format(path: &Path, format: u64) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(META_FORMAT, format).unwrap();
    txn.commit().unwrap();
}

/// Converts an index to format 1 or 2.
pub(crate) fn make_legacy(path: &Path, format: u64) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    if format == 1 {
        assert!(txn.delete_table(TRIMMED).unwrap());
    }
    assert!(txn.delete_table(HOLES).unwrap());
    {
        let mut names = txn.open_table(NAMES).unwrap();
        let rows: Vec<(String, Vec<u8>)> = names
            .iter()
            .unwrap()
            .map(|row| row.unwrap())
            .map(|(name, record)| (name.value().to_owned(), record.value().to_vec()))
            .collect();
        for (name, record) in rows {
            let record = schema::decode_record(&name, &record).unwrap();
            let row = schema::encode_legacy(&record);
            names.insert(name.as_str(), row.as_slice()).unwrap();
        }
    }
    {
        let mut producers = txn.open_table(PRODUCERS).unwrap();
        let writers = txn.open_table(WRITERS).unwrap();
        for row in writers.iter().unwrap() {
            let (key, state) = row.unwrap();
            let state = schema::decode_writer(0, state.value()).unwrap();
            if let Progress::Producer(ProducerState { epoch, seq }) = state.progress {
                producers.insert(key.value(), (epoch, seq)).unwrap();
            }
        }
    }
    assert!(txn.delete_table(WRITERS).unwrap());
    txn.commit().unwrap();
    drop(db);
    set_format(path, format);
}

/// Converts an index to one without canonical names, and renames streams: new name, old name.
pub(crate) fn make_names_legacy(path: &Path, renamed: &[(&str, &str)]) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.delete_table(SPELLINGS).unwrap();
    txn.open_table(META).unwrap().remove(META_CANONICAL).unwrap();
    for (now, legacy) in renamed {
        let mut names = txn.open_table(NAMES).unwrap();
        let row = names.remove(*now).unwrap().unwrap().value().to_vec();
        names.insert(*legacy, row.as_slice()).unwrap();
        let mut due = txn.open_table(DUE).unwrap();
        if let Some(at) = schema::decode_record(legacy, &row).unwrap().due_at {
            due.remove((at, *now)).unwrap();
            due.insert((at, *legacy), ()).unwrap();
        }
    }
    txn.commit().unwrap();
}
