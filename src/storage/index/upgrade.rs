//! Upgrading an index of format 1 or 2.

use redb::{Database, ReadableTable as _};

use super::schema::{FORMAT, HOLES, META, META_FORMAT, PRODUCERS, TRIMMED, WRITERS, begin_write, encode_writer};
use crate::storage::{ProducerState, Progress, StreamId, WriterState};

/// The number of producers kept for each stream. Legacy versions had no limit.
const MAX_PRODUCERS: usize = 1000;

/// Upgrades an index to the current format. Format 1 has no table of trimmed streams. Neither
/// format has a table of holes, and both have producers instead of writers. Legacy records stay as
/// they are, since they can still be read.
pub(super) fn upgrade(db: &Database) -> Result<(), redb::Error> {
    let txn = begin_write(db)?;
    txn.open_table(TRIMMED)?;
    txn.open_table(HOLES)?;
    producers_to_writers(&txn)?;
    // From here on an older version refuses the index.
    txn.open_table(META)?.insert(META_FORMAT, FORMAT)?;
    txn.commit()?;
    Ok(())
}

fn producers_to_writers(txn: &redb::WriteTransaction) -> Result<(), redb::Error> {
    {
        let producers = txn.open_table(PRODUCERS)?;
        let mut writers = txn.open_table(WRITERS)?;
        let (mut stream, mut count): (StreamId, usize) = (0, 0);
        for row in producers.iter()? {
            let (key, state) = row?;
            let ((id, producer), (epoch, seq)) = (key.value(), state.value());
            count = if id == stream { count + 1 } else { 1 };
            stream = id;
            if count <= MAX_PRODUCERS {
                let progress = Progress::Producer(ProducerState { epoch, seq });
                let state = encode_writer(&WriterState { progress, used_at: 0 })?;
                writers.insert((id, producer), state.as_slice())?;
            }
        }
    }
    txn.delete_table(PRODUCERS)?;
    Ok(())
}
