//! The log in which the servers of one store tell each other which subscriptions were created, were
//! deleted, or watch other streams. An announcement is in the same commit as its change.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use super::{codec, index::Id};
use crate::{
    engine::{Engine, LogChange, LogError, LogWrite, Unavailable},
    protocol::{NameError, Offset, StreamName},
    storage::StreamId,
};

/// A longer log is emptied. Servers that have not read it then compare all subscriptions.
const MAX_BYTES: usize = 256 * 1024;
/// How often the log is created again because another server was faster.
const MAX_MOVES: u32 = 8;

pub(super) struct Announcements {
    log: StreamName,
    /// The tail up to which this server has read them.
    read_up_to: Mutex<Option<Offset>>,
}

#[derive(Serialize, Deserialize)]
struct Announcement<'a> {
    subscription: Cow<'a, str>,
}

/// Announcements that this server has not read yet. Other callers wait until this is dropped, and get
/// the same ones unless it is [`Unread::done`].
pub(super) struct Unread<'a> {
    /// The subscriptions that have changed; `None`: the log does not have all of them.
    pub(super) ids: Option<Vec<Id>>,
    tail: Option<Offset>,
    read_up_to: MutexGuard<'a, Option<Offset>>,
}

impl Unread<'_> {
    /// Everything was taken over.
    pub(super) fn done(mut self) {
        *self.read_up_to = self.tail;
    }
}

impl Announcements {
    pub(super) fn new() -> Result<Self, NameError> {
        Ok(Self {
            log: StreamName::internal("subscription-changes")?,
            read_up_to: Mutex::default(),
        })
    }

    /// The announcement of a change, and its log.
    pub(super) fn of(&self, id: &Id) -> Result<(StreamName, Bytes), serde_json::Error> {
        let subscription = Cow::Borrowed(&**id);
        Ok((self.log.clone(), codec::encode(&[Announcement { subscription }])?))
    }

    /// Begins to read after the present tail. Creates the log if there is none. Returns its id.
    pub(super) async fn begin(&self, engine: &Engine) -> Result<StreamId, Unavailable> {
        let mut read_up_to = self.read_up_to.lock().await;
        for _ in 0..MAX_MOVES {
            if let Some(extent) = engine.extent(&self.log).await? {
                *read_up_to = Some(extent.tail());
                return Ok(extent.id());
            }
            let write = LogWrite::alone(None, LogChange::Append(Bytes::new()));
            match engine.write_log(&self.log, write).await {
                Ok(_) | Err(LogError::Moved) => {}
                Err(LogError::Unavailable(unavailable)) => return Err(unavailable),
            }
        }
        Err(Unavailable::Raced)
    }

    pub(super) async fn are_stored(&self, engine: &Engine) -> Result<bool, Unavailable> {
        Ok(engine.extent(&self.log).await?.is_some())
    }

    /// The announcements since the last ones that were taken over.
    pub(super) async fn unread(&self, engine: &Engine) -> Result<Unread<'_>, Unavailable> {
        let read_up_to = self.read_up_to.lock().await;
        let log = match *read_up_to {
            Some(known) => engine.read_log(&self.log, Some(known)).await?,
            None => None,
        };
        let part = log.as_ref().filter(|log| !log.is_whole);
        Ok(Unread {
            ids: part.and_then(|log| ids(&log.messages)),
            tail: log.map(|log| log.tail),
            read_up_to,
        })
    }

    /// Empties the log if it is long.
    pub(super) async fn trim(&self, engine: &Engine) -> Result<(), Unavailable> {
        let Some(log) = engine.read_log(&self.log, None).await? else {
            return Ok(());
        };
        if log.messages.len() <= MAX_BYTES {
            return Ok(());
        }
        let write = LogWrite::alone(Some(log.tail), LogChange::Replace(Bytes::new()));
        match engine.write_log(&self.log, write).await {
            // There will be a quieter moment.
            Ok(_) | Err(LogError::Moved) => Ok(()),
            Err(LogError::Unavailable(unavailable)) => Err(unavailable),
        }
    }
}

/// `None`: a later version has written something else.
fn ids(stored: &[u8]) -> Option<Vec<Id>> {
    let mut ids: Vec<Id> = codec::messages(stored)
        .map(|(message, _)| serde_json::from_slice::<Announcement<'_>>(message).map(|one| Id::from(&*one.subscription)))
        .collect::<Result<_, _>>()
        .ok()?;
    ids.sort_unstable();
    ids.dedup();
    Some(ids)
}
