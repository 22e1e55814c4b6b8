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
    writers::{max_size, producer_key, scope_key},
};
use crate::{
    protocol::{BadInput, Offset, ProducerStamp, StreamName},
    storage::{ProducerState, Progress, WriterState},
};

impl Engine {
    /// Appends to a stream, closes it, or both in one step. Returns when that is as durable
    /// as the backend promises.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    pub async fn append(&self, name: &StreamName, request: AppendRequest) -> Result<Appended, AppendError> {
        let stream = self.find(name).await?.ok_or(AppendError::NotFound)?;
        let append = self.prepare_append(&stream, request).await?;
        let outcome = self.submit(Command::Append { stream, append }).await?;
        match outcome {
            Outcome::Appended(result) => result,
            other => Err(other.unexpected().into()),
        }
    }

    async fn prepare_append(&self, stream: &Stream, request: AppendRequest) -> Result<PreparedAppend, AppendError> {
        let AppendRequest {
            content_type,
            body,
            close,
            producer,
            stream_seq,
            writer,
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
            self.stored_form(stream.content_type.kind(), body, false).await??
        } else {
            Bytes::new()
        };
        let producer = producer.map(|stamp| ProducerStamp {
            id: producer_key(writer, stamp.id),
            ..stamp
        });
        Ok(PreparedAppend {
            data,
            content_type_matches,
            close,
            producer,
            stream_seq,
            writer,
        })
    }
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

    // Nothing fails from here on: a command that is refused leaves nothing in the batch.
    let now = tx.context.now;
    if let Some((stamp, state)) = producer {
        tx.set_writer(slot, stamp.id.clone(), Progress::Producer(state));
    }
    if let (Some(seq), Some(scope)) = (&append.stream_seq, append.writer) {
        tx.set_writer(slot, scope_key(scope), Progress::Sequence(seq.as_str().into()));
    }
    let staged = tx.get_mut(slot);
    let before = staged.tail;
    staged.append(append.data.clone());
    if append.stream_seq.is_some() && append.writer.is_none() {
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
fn on_closed(tx: &mut Transaction<'_>, slot: Slot, append: &PreparedAppend) -> Result<Appended, AppendError> {
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

fn judge(tx: &mut Transaction<'_>, slot: Slot, stamp: &ProducerStamp) -> Result<Verdict, AppendError> {
    let known = tx.writers(slot)?.producer(&stamp.id);
    let staged = tx.get(slot);
    let closed_at = staged.record.closed.then_some(staged.offset());
    producers::judge(known, stamp, closed_at)
}

fn check_stream_seq(tx: &mut Transaction<'_>, slot: Slot, append: &PreparedAppend) -> Result<(), AppendError> {
    let Some(given) = &append.stream_seq else { return Ok(()) };
    let last = match append.writer {
        None => tx.get(slot).record.stream_seq.clone(),
        Some(scope) => tx.writers(slot)?.sequence(&scope_key(scope)).map(str::to_owned),
    };
    match last {
        Some(last) if given.as_bytes() <= last.as_bytes() => {
            let tail = tx.get(slot).offset();
            Err(AppendError::SeqRegression { last, tail })
        }
        _ => Ok(()),
    }
}

/// Whether there is room for an append in its stream. Its writers count as well, unless the stream
/// makes room by itself: then nothing but its content could go.
fn check_size(tx: &mut Transaction<'_>, slot: Slot, append: &PreparedAppend) -> Result<(), AppendError> {
    let staged = tx.get(slot);
    let len = stored_len(staged.record.framing, append.data.len() as u64);
    if len > Offset::MAX_POSITION.saturating_sub(staged.tail) {
        return Err(AppendError::TooLarge(Offset::MAX_POSITION));
    }
    let Some(limit) = tx.context.config.limits.stream_bytes().filter(|_| len > 0) else {
        return Ok(());
    };
    // Without its frame's header, so that content of exactly the limit fits.
    let kept = super::retention::kept_with(tx, slot, append.data.len() as u64);
    if kept > limit {
        return Err(AppendError::TooLarge(limit));
    }
    // Most streams are so far from the limit that their writers need not be read.
    let most = max_size(tx.context.config.limits.max_producers_per_stream);
    if kept.saturating_add(most) <= limit || super::retention::limits_size(tx, slot) {
        return Ok(());
    }
    if kept.saturating_add(writers_size(tx, slot, append)?) > limit {
        return Err(AppendError::TooLarge(limit));
    }
    Ok(())
}

/// The bytes that a stream's writers occupy, with the producer of this append.
fn writers_size(tx: &mut Transaction<'_>, slot: Slot, append: &PreparedAppend) -> Result<u64, AppendError> {
    let writers = tx.writers(slot)?;
    let new = append
        .producer
        .as_ref()
        .filter(|stamp| writers.producer(&stamp.id).is_none());
    Ok(writers.size() + new.map_or(0, |stamp| WriterState::OVERHEAD + stamp.id.len() as u64))
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
