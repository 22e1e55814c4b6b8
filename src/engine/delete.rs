//! Delete, and what follows from it for forks and their sources (sections 4.2 and 5.4).

use super::{
    Engine,
    errors::{DeleteError, Unavailable},
    request::{Command, Outcome},
    retention,
    stream::Gone,
    transaction::{Slot, Transaction},
};
use crate::protocol::StreamName;

impl Engine {
    /// Deletes a stream. One that has forks is kept for them, and answers to nobody else.
    ///
    /// # Errors
    /// See [`DeleteError`].
    pub async fn delete(&self, name: &StreamName) -> Result<(), DeleteError> {
        // An expired stream is gone before anybody deletes it.
        self.find(name).await?.ok_or(DeleteError::NotFound)?;
        match self.submit(Command::Delete { name: name.clone() }).await? {
            Outcome::Deleted(result) => result,
            other => Err(other.unexpected().into()),
        }
    }
}

pub(super) fn stage(tx: &mut Transaction<'_>, name: &StreamName) -> Result<(), DeleteError> {
    let slot = tx.find(name)?.ok_or(DeleteError::NotFound)?;
    if tx.get(slot).gone == Some(Gone::SoftDeleted) {
        return Err(DeleteError::Gone);
    }
    Ok(remove(tx, slot)?)
}

/// Removes a stream for good, or softly while forks read from it. The last fork takes its
/// softly deleted source along, and so on up the chain.
pub(super) fn remove(tx: &mut Transaction<'_>, slot: Slot) -> Result<(), Unavailable> {
    if tx.get(slot).record.forks > 0 {
        tx.get_mut(slot).soft_delete();
        return Ok(());
    }
    // All that can fail comes before the first change: a command that is refused leaves
    // nothing in the batch.
    let (mut doomed, mut survivor) = (vec![slot], None);
    let mut at = slot;
    while let Some(fork) = &tx.get(at).record.fork {
        let (source, source_id) = (fork.source.clone(), fork.source_id);
        let Some(source) = tx.find(&source)? else { break };
        let record = &tx.get(source).record;
        if record.id != source_id {
            break;
        }
        if record.forks > 1 || !record.soft_deleted {
            survivor = Some(source);
            break;
        }
        doomed.push(source);
        at = source;
    }
    for slot in doomed {
        tx.get_mut(slot).gone = Some(Gone::Deleted);
    }
    if let Some(source) = survivor {
        let record = tx.get_mut(source).record_mut();
        record.forks = record.forks.saturating_sub(1);
        let forks = record.forks;
        if let Some(past) = &mut record.retention {
            retention::settle(past, forks);
        }
    }
    Ok(())
}
