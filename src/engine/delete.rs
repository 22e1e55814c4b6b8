//! Delete, and its effects on forks and their sources (sections 4.2 and 5.4).

use super::{
    Engine,
    command::Command,
    errors::Unavailable,
    retention,
    snapshot::Gone,
    transaction::{Slot, Transaction},
};
use crate::protocol::StreamName;

/// Why a stream was not deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeleteError {
    /// There is none.
    #[error("the stream does not exist")]
    NotFound,
    /// It was deleted before.
    #[error("the stream was deleted")]
    Gone,
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

struct Delete {
    name: StreamName,
}

impl Engine {
    /// Deletes a stream. One that has forks is kept for them, and cannot be reached otherwise.
    ///
    /// # Errors
    /// See [`DeleteError`].
    pub async fn delete(&self, name: &StreamName) -> Result<(), DeleteError> {
        // An expired stream can no longer be deleted.
        self.find(name).await?.ok_or(DeleteError::NotFound)?;
        self.submit(Delete { name: name.clone() }).await?
    }
}

impl Command for Delete {
    type Reply = Result<(), DeleteError>;

    fn name(&self) -> Option<&StreamName> {
        Some(&self.name)
    }

    fn stage(&self, tx: &mut Transaction<'_>) -> Self::Reply {
        let slot = tx.find(&self.name)?.ok_or(DeleteError::NotFound)?;
        if tx.get(slot).gone == Some(Gone::SoftDeleted) {
            return Err(DeleteError::Gone);
        }
        Ok(remove(tx, slot)?)
    }
}

/// Removes a stream, or soft-deletes it while forks read from it. The last fork takes its
/// soft-deleted source along, and so on up the chain.
pub(super) fn remove(tx: &mut Transaction<'_>, slot: Slot) -> Result<(), Unavailable> {
    if tx.get(slot).record.forks > 0 {
        tx.get_mut(slot).soft_delete();
        return Ok(());
    }
    // Everything that can fail comes before the first change: a refused command leaves nothing in
    // the batch.
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
        if let Some(kept) = &mut record.retention {
            retention::release_unforked(kept, forks);
        }
    }
    Ok(())
}
