//! Logs: streams that the server keeps for itself. A writer names the tail on which it decided, so
//! that of two servers of one store only one writes, and the other reads and decides again.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Bytes, BytesMut};

use super::{
    Engine,
    append::{Append, AppendError, AppendRequest},
    command::Command,
    delete,
    errors::Unavailable,
    read_error::ReadError,
    retention,
    transaction::{Landings, Slot, Transaction},
};
use crate::{
    protocol::{ContentType, Framing, Lifetime, Offset, ReadFrom, StreamName},
    storage::{Stored, StreamId, StreamRecord},
};

const JSON: &str = "application/json";
/// Names that one page of [`Engine::logs`] has at most.
const PAGE: usize = 256;

/// The content of a log.
#[derive(Debug, Clone)]
pub struct Log {
    /// Messages, each followed by a comma and a line feed.
    pub messages: Bytes,
    /// Whether these are all of its messages, and not only those after an offset.
    pub is_whole: bool,
    /// Where the log ends.
    pub tail: Offset,
}

/// A change of a log.
#[derive(Debug, Clone)]
pub enum LogChange {
    /// Adds messages in their stored form.
    Append(Bytes),
    /// Adds messages that replace all before them.
    Replace(Bytes),
    /// Deletes the log.
    Remove,
}

/// A change of a log, and what is committed with it.
#[derive(Debug, Clone)]
pub struct LogWrite {
    /// The tail on which the change was decided; `None`: there is no log.
    pub expected: Option<Offset>,
    /// The change.
    pub change: LogChange,
    /// Messages in their stored form for a stream of clients. One that refuses them does not keep
    /// the log from being changed.
    pub notice: Option<(StreamName, Bytes)>,
    /// Messages for another log, wherever it ends. It is created if it does not exist.
    pub announcement: Option<(StreamName, Bytes)>,
}

impl LogWrite {
    /// A change of nothing but the log.
    #[must_use]
    pub fn alone(expected: Option<Offset>, change: LogChange) -> Self {
        Self {
            expected,
            change,
            notice: None,
            announcement: None,
        }
    }
}

/// Why a log was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The log does not end where the change was decided: read it and decide again.
    #[error("the log has moved")]
    Moved,
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A log after a change.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Its id.
    pub id: StreamId,
    /// Its tail.
    pub tail: Offset,
    /// Why the notice was not appended, if it was not.
    pub notice_refused: Option<AppendError>,
}

struct WriteLog {
    name: StreamName,
    expected: Option<Offset>,
    change: LogChange,
    notice: Option<Append>,
    announcement: Option<(StreamName, Bytes)>,
}

impl Engine {
    /// Reads a log, from `after` on if it has that offset, else all of it; `None` if there is none.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn read_log(&self, name: &StreamName, after: Option<Offset>) -> Result<Option<Log>, Unavailable> {
        let mut messages = BytesMut::new();
        let mut from = after.map_or(ReadFrom::Beginning, ReadFrom::At);
        let mut is_whole = after.is_none();
        loop {
            let part = match self.read_stored(name, from, None).await {
                Ok(part) => part,
                Err(ReadError::NotFound | ReadError::Gone) => return Ok(None),
                Err(ReadError::Unavailable(unavailable)) => return Err(unavailable),
                // It was replaced meanwhile.
                Err(ReadError::Trimmed { .. } | ReadError::OtherLife { .. } | ReadError::InvalidOffset) => {
                    messages.clear();
                    (from, is_whole) = (ReadFrom::Beginning, true);
                    continue;
                }
            };
            messages.extend_from_slice(&part.run);
            if part.is_last {
                return Ok(Some(Log {
                    messages: messages.freeze(),
                    is_whole,
                    tail: part.end,
                }));
            }
            from = ReadFrom::At(part.end);
        }
    }

    /// Some logs whose names begin with `prefix`, after `after`, with their tails; none after the
    /// last.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn logs(
        &self,
        prefix: &StreamName,
        after: Option<&StreamName>,
    ) -> Result<Vec<(StreamName, Offset)>, Unavailable> {
        let storage = Arc::clone(&self.shared.storage);
        let (prefix, after) = (prefix.clone(), after.cloned());
        let page = self
            .blocking(move || storage.list(prefix.key(), after.as_ref().map(StreamName::key), PAGE))
            .await??;
        let tail = |stored: Stored| stored.record.offset(stored.tail);
        Ok(page.into_iter().map(|(name, stored)| (name, tail(stored))).collect())
    }

    /// Changes a log, if it ends where the change was decided.
    ///
    /// # Errors
    /// See [`LogError`]; nothing was changed then, unless the store failed.
    pub async fn write_log(&self, name: &StreamName, write: LogWrite) -> Result<Logged, LogError> {
        let LogWrite {
            expected,
            change,
            notice,
            announcement,
        } = write;
        let removes = matches!(change, LogChange::Remove);
        let (notice, notice_refused) = match notice {
            Some((stream, messages)) => match self.prepare_notice(&stream, messages).await {
                Ok(append) => (Some(append), None),
                Err(AppendError::Unavailable(unavailable)) => return Err(unavailable.into()),
                Err(refused) => (None, Some(refused)),
            },
            None => (None, None),
        };
        let command = WriteLog {
            name: name.clone(),
            expected,
            change,
            notice,
            announcement,
        };
        let mut logged = self.submit(command).await??;
        let count = &self.shared.logs;
        if expected.is_none() {
            count.fetch_add(1, Ordering::Relaxed);
        } else if removes {
            count.fetch_sub(1, Ordering::Relaxed);
        }
        logged.notice_refused = logged.notice_refused.or(notice_refused);
        Ok(logged)
    }

    async fn prepare_notice(&self, stream: &StreamName, messages: Bytes) -> Result<Append, AppendError> {
        let stream = self.find_fresh(stream).await?.ok_or(AppendError::NotFound)?;
        let request = AppendRequest {
            content_type: ContentType::parse(JSON).ok(),
            body: messages,
            ..AppendRequest::default()
        };
        self.prepare_append(stream, request).await
    }

    /// Notes how many logs the store has. They do not count as streams.
    pub fn set_logs(&self, logs: u64) {
        self.shared.logs.store(logs, Ordering::Relaxed);
    }
}

impl Command for WriteLog {
    type Reply = Result<Logged, LogError>;

    fn bytes(&self) -> usize {
        let log = match &self.change {
            LogChange::Append(data) | LogChange::Replace(data) => data.len(),
            LogChange::Remove => 0,
        };
        let announced = self.announcement.as_ref().map_or(0, |(_, messages)| messages.len());
        log + announced + self.notice.as_ref().map_or(0, Command::bytes)
    }

    fn name(&self) -> Option<&StreamName> {
        Some(&self.name)
    }

    fn stage(&self, tx: &mut Transaction<'_>) -> Self::Reply {
        let found = tx.find(&self.name)?;
        if found.map(|slot| tx.get(slot).offset()) != self.expected {
            return Err(LogError::Moved);
        }
        let new = match found {
            Some(_) => None,
            None => Some(new_record(tx)?),
        };
        let announced = match &self.announcement {
            Some((log, messages)) => Some((find_or_create(tx, log)?, messages)),
            None => None,
        };
        let notice_refused = match &self.notice {
            Some(notice) => match notice.stage(tx) {
                Err(AppendError::Unavailable(unavailable)) => return Err(unavailable.into()),
                refused => refused.err(),
            },
            None => None,
        };
        let slot = match (found, new) {
            (Some(slot), _) => slot,
            (None, Some(record)) => tx.stage_new(&self.name, record),
            (None, None) => return Err(LogError::Moved),
        };
        match &self.change {
            LogChange::Append(data) => append(tx, slot, data),
            LogChange::Replace(data) => {
                let staged = tx.get(slot);
                let start = staged.tail;
                // What the batch itself has appended cannot be trimmed yet.
                let can_trim = start == staged.base() && start > staged.record.earliest();
                append(tx, slot, data);
                if can_trim {
                    let staged = tx.get_mut(slot);
                    let forks = staged.record.forks;
                    retention::trim_below(staged.retention_mut(), start, forks);
                }
            }
            LogChange::Remove => delete::remove(tx, slot)?,
        }
        if let Some((slot, messages)) = announced {
            let staged = tx.get_mut(slot);
            staged.limit_headroom(Offset::MAX_POSITION.saturating_sub(staged.tail));
            staged.append(messages.clone());
        }
        Ok(Logged {
            id: tx.get(slot).record.id,
            tail: tx.get(slot).offset(),
            notice_refused,
        })
    }

    /// A log's own messages land where they were judged.
    fn landed(&self, _: &mut Self::Reply, _: &Landings) {}
}

/// The messages must not land after another server's.
fn append(tx: &mut Transaction<'_>, slot: Slot, data: &Bytes) {
    let staged = tx.get_mut(slot);
    staged.append(data.clone());
    staged.limit_headroom(0);
}

/// A log whose tail does not matter.
fn find_or_create(tx: &mut Transaction<'_>, name: &StreamName) -> Result<Slot, Unavailable> {
    if let Some(slot) = tx.find(name)? {
        return Ok(slot);
    }
    let record = new_record(tx)?;
    Ok(tx.stage_new(name, record))
}

fn new_record(tx: &mut Transaction<'_>) -> Result<StreamRecord, Unavailable> {
    let now = tx.context.now;
    Ok(StreamRecord {
        id: tx.next_id(0)?,
        start: 0,
        content_type: JSON.to_owned(),
        created_at: now,
        lifetime: Lifetime::Unlimited,
        touched_at: now,
        due_at: None,
        closed: false,
        closed_by: None,
        stream_seq: None,
        fork: None,
        forks: 0,
        soft_deleted: false,
        lives: Vec::new(),
        renewed: None,
        framing: Framing::NONE,
        retention: None,
    })
}
