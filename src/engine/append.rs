//! Append, close, and both in one step (sections 5.2 and 5.3).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine,
    errors::{AppendError, Unavailable},
    producers::{self, Verdict},
    request::{AppendRequest, Appended, Command, Outcome, PreparedAppend},
    stream::{Gone, Stream},
    transaction::{Slot, Transaction, stored_len},
};
use crate::{
    protocol::{BadInput, Offset, StreamName, json},
    storage::{ProducerStamp, ProducerState},
};

impl Engine {
    /// Appends to a stream, closes it, or both in one step. Returns when that is as durable
    /// as the backend promises.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    pub async fn append(&self, name: &StreamName, request: AppendRequest) -> Result<Appended, AppendError> {
        let stream = self.find(name).await?.ok_or(AppendError::NotFound)?;
        let append = prepare(&stream, request)?;
        let outcome = self.submit(Command::Append { stream, append }).await?;
        match outcome {
            Outcome::Appended(result) => result,
            other => Err(other.unexpected().into()),
        }
    }
}

fn prepare(stream: &Stream, request: AppendRequest) -> Result<PreparedAppend, AppendError> {
    let AppendRequest {
        content_type,
        body,
        close,
        producer,
        stream_seq,
    } = request;
    let content_type_matches = if body.is_empty() {
        if !close {
            return Err(BadInput::new("body", "is empty; only a request with `Stream-Closed: true` may be").into());
        }
        true
    } else {
        let given = content_type.ok_or_else(|| BadInput::new("Content-Type", "is missing"))?;
        given.matches(&stream.content_type)
    };
    let data = if content_type_matches {
        json::stored_form(stream.content_type.kind(), body, false)?
    } else {
        Bytes::new()
    };
    Ok(PreparedAppend {
        data,
        content_type_matches,
        close,
        producer,
        stream_seq,
    })
}

/// Judges an append in the order that section 5.2 recommends: a stale or repeated producer,
/// then the closed stream, then the content type, then the sequences.
pub(super) fn stage(
    tx: &mut Transaction<'_>,
    stream: &Arc<Stream>,
    append: &PreparedAppend,
) -> Result<Appended, AppendError> {
    let slot = tx.stage(stream);
    match tx.get(slot).gone {
        Some(Gone::Deleted) => return Err(AppendError::NotFound),
        Some(Gone::SoftDeleted) => return Err(AppendError::Gone),
        None => {}
    }
    if let Some(what) = stream.damage() {
        return Err(Unavailable::Damaged(what.clone()).into());
    }
    if tx.get(slot).record.closed {
        return on_closed(tx, slot, append);
    }
    if !append.content_type_matches {
        return Err(AppendError::ContentType(stream.content_type.as_str().to_owned()));
    }
    let producer = match &append.producer {
        Some(stamp) => match judge(tx, slot, stamp)? {
            Verdict::Duplicate(state) => return Ok(answer(tx, slot, true, Some(state))),
            Verdict::Accept(state) => Some((stamp, state)),
        },
        None => None,
    };
    check_stream_seq(tx, slot, append)?;
    check_size(tx, slot, append)?;

    let now = tx.context.now;
    let staged = tx.get_mut(slot);
    let before = staged.tail;
    staged.append(append.data.clone());
    if let Some((stamp, state)) = producer {
        staged.set_producer(stamp.id.clone(), state);
    }
    if append.stream_seq.is_some() {
        staged.record_mut().stream_seq.clone_from(&append.stream_seq);
    }
    if append.close {
        let record = staged.record_mut();
        record.closed = true;
        record.closed_by.clone_from(&append.producer);
    }
    staged.stream.touch(now);
    super::expiry::note_touch(staged);
    if !append.data.is_empty() {
        super::retention::appended(tx, slot, before);
    }
    Ok(answer(tx, slot, false, producer.map(|(_, state)| state)))
}

/// A closed stream takes nothing, but the request that closed it may be repeated, and so
/// may a close without content.
fn on_closed(tx: &Transaction<'_>, slot: Slot, append: &PreparedAppend) -> Result<Appended, AppendError> {
    let record = &tx.get(slot).record;
    if let Some(stamp) = &append.producer {
        if record.closed_by.as_ref() == Some(stamp) {
            return Ok(answer(
                tx,
                slot,
                true,
                Some(ProducerState {
                    epoch: stamp.epoch,
                    seq: stamp.seq,
                }),
            ));
        }
        if let Err(stale @ AppendError::StaleEpoch { .. }) = judge(tx, slot, stamp) {
            return Err(stale);
        }
    } else if append.close && append.data.is_empty() && append.content_type_matches {
        return Ok(answer(tx, slot, true, None));
    }
    Err(AppendError::Closed {
        tail: tx.get(slot).offset(),
    })
}

fn judge(tx: &Transaction<'_>, slot: Slot, stamp: &ProducerStamp) -> Result<Verdict, AppendError> {
    producers::judge(tx.producer(slot, &stamp.id)?, stamp)
}

fn check_stream_seq(tx: &Transaction<'_>, slot: Slot, append: &PreparedAppend) -> Result<(), AppendError> {
    match (&tx.get(slot).record.stream_seq, &append.stream_seq) {
        (Some(last), Some(given)) if given.as_bytes() <= last.as_bytes() => {
            Err(AppendError::SeqRegression { last: last.clone() })
        }
        _ => Ok(()),
    }
}

fn check_size(tx: &Transaction<'_>, slot: Slot, append: &PreparedAppend) -> Result<(), AppendError> {
    let staged = tx.get(slot);
    let len = stored_len(staged.record.framing, append.data.len() as u64);
    if len > Offset::MAX_POSITION.saturating_sub(staged.tail) {
        return Err(AppendError::TooLarge(Offset::MAX_POSITION));
    }
    let Some(limit) = tx.context.limits.max_stream_bytes else {
        return Ok(());
    };
    let kept = super::retention::kept_with(tx, slot, len);
    if kept > limit && len > 0 {
        return Err(AppendError::TooLarge(limit));
    }
    Ok(())
}

fn answer(tx: &Transaction<'_>, slot: Slot, duplicate: bool, producer: Option<ProducerState>) -> Appended {
    let staged = tx.get(slot);
    Appended {
        tail: staged.offset(),
        closed: staged.record.closed,
        duplicate,
        producer,
    }
}
