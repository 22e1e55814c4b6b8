//! Append, close, and both in one step (sections 5.2 and 5.3).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine,
    command::Command,
    errors::Unavailable,
    producers::{self, Outcome, ProducerError},
    snapshot::Gone,
    staged::stored_len,
    stream::Stream,
    transaction::{Landings, Slot, Transaction},
    trim,
    writers::{WriterScope, max_size, producer_key, scope_key},
};
use crate::{
    protocol::{BadInput, ContentType, Offset, ProducerStamp, StreamName},
    storage::{ProducerState, Progress, WriterState},
};

/// Appends to a stream, closes it, or both in one step.
#[derive(Debug, Clone, Default)]
pub struct AppendRequest {
    /// The body's content type; may be missing if the body is empty.
    pub content_type: Option<ContentType>,
    /// The content, as it was received; empty only to close.
    pub body: Bytes,
    /// Closes the stream after the body.
    pub close: bool,
    /// Makes a retry idempotent (section 5.2.1).
    pub producer: Option<ProducerStamp>,
    /// `Stream-Seq`
    pub stream_seq: Option<String>,
    /// Appends only if this is the stream's tail.
    pub expected_tail: Option<Offset>,
    /// The scope of the producer and of `Stream-Seq`; `None`: the shared scope.
    pub writer: Option<WriterScope>,
}

/// The state of a stream after an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The stream's tail.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// Whether an earlier request of the same producer had appended it already.
    pub duplicate: bool,
    /// Where the producer stands.
    pub producer: Option<ProducerState>,
}

/// Why nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// There is no such stream: create it.
    #[error("the stream does not exist")]
    NotFound,
    /// It was deleted and is kept for its forks.
    #[error("the stream was deleted")]
    Gone,
    /// No more appends, ever.
    #[error("the stream is closed")]
    Closed {
        /// Where it ends.
        tail: Offset,
    },
    /// Only a request that closes the stream may have no body.
    #[error("the body is empty")]
    EmptyBody,
    /// Name the body's content type.
    #[error("the body has no content type")]
    NoContentType,
    /// Send the stream's content type.
    #[error("the stream has content type {0}")]
    ContentType(String),
    /// The writer's sequence must grow. Clients look for the words "Sequence conflict".
    #[error("Sequence conflict: the sequence is not greater than the last one, {last:?}")]
    SeqRegression {
        /// The last one.
        last: String,
        /// Where the stream ends.
        tail: Offset,
    },
    /// The tail is not the expected one: read what was appended since, and decide again.
    #[error("the stream's tail is not the expected offset")]
    UnexpectedTail {
        /// Where the stream ends.
        tail: Offset,
    },
    /// A producer of a later epoch has taken over.
    #[error("the producer's current epoch is {current}")]
    StaleEpoch {
        /// Its epoch.
        current: u64,
        /// Where the stream ends, if it is closed.
        closed_at: Option<Offset>,
    },
    /// A new epoch starts at sequence number 0.
    #[error("a producer's new epoch starts at sequence number 0")]
    EpochStart,
    /// Requests are missing in between.
    #[error("the producer's next sequence number is {expected}, not {received}")]
    SeqGap {
        /// The number that would have been accepted.
        expected: u64,
        /// The number that was received.
        received: u64,
    },
    /// The stream would exceed its maximum size.
    #[error("the stream would be larger than {0} bytes")]
    TooLarge(u64),
    /// The body itself is wrong.
    #[error(transparent)]
    Bad(#[from] BadInput),
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// An append whose body is in its stored form.
pub(super) struct Append {
    stream: Arc<Stream>,
    data: Bytes,
    content_type_matches: bool,
    close: bool,
    /// With its key in the place of its id.
    producer: Option<ProducerStamp>,
    stream_seq: Option<String>,
    expected_tail: Option<Offset>,
    writer: Option<WriterScope>,
}

impl Engine {
    /// Appends to a stream, closes it, or both in one step. Returns once that is as durable as the
    /// backend promises.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was appended then.
    pub async fn append(&self, name: &StreamName, request: AppendRequest) -> Result<Appended, AppendError> {
        let stream = self.find(name).await?.ok_or(AppendError::NotFound)?;
        if self.shared.sharing.is_some() {
            return Box::pin(self.append_shared(name, stream, request)).await;
        }
        let append = self.prepare_append(stream, request).await?;
        self.submit(append).await?
    }

    /// Appends to a stream that another server may have changed since it was read into memory.
    /// Refusals that the commit cannot vouch for are judged again on the stream as it is now.
    async fn append_shared(
        &self,
        name: &StreamName,
        stream: Arc<Stream>,
        request: AppendRequest,
    ) -> Result<Appended, AppendError> {
        let append = self.prepare_append(stream, request.clone()).await?;
        match self.submit(append).await? {
            Err(
                AppendError::NotFound
                | AppendError::UnexpectedTail { .. }
                | AppendError::Unavailable(Unavailable::Raced),
            ) => {
                let stream = self.find_fresh(name).await?.ok_or(AppendError::NotFound)?;
                let append = self.prepare_append(stream, request).await?;
                self.submit(append).await?
            }
            result => result,
        }
    }

    pub(super) async fn prepare_append(
        &self,
        stream: Arc<Stream>,
        request: AppendRequest,
    ) -> Result<Append, AppendError> {
        let AppendRequest {
            content_type,
            body,
            close,
            producer,
            stream_seq,
            expected_tail,
            writer,
        } = request;
        let content_type_matches = match content_type {
            _ if body.is_empty() && close => true,
            _ if body.is_empty() => return Err(AppendError::EmptyBody),
            None => return Err(AppendError::NoContentType),
            Some(given) => given.matches(&stream.content_type),
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
        Ok(Append {
            stream,
            data,
            content_type_matches,
            close,
            producer,
            stream_seq,
            expected_tail,
            writer,
        })
    }
}

impl Command for Append {
    type Reply = Result<Appended, AppendError>;

    fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Judges in the order that section 5.2 recommends: a stale or repeated producer, then the
    /// closed stream, then the content type, then the sequences.
    fn stage(&self, tx: &mut Transaction<'_>) -> Self::Reply {
        let slot = tx.stage(&self.stream);
        match tx.get(slot).gone {
            Some(Gone::Deleted) => return Err(AppendError::NotFound),
            Some(Gone::Outdated) => return Err(Unavailable::Raced.into()),
            Some(Gone::SoftDeleted) => return Err(AppendError::Gone),
            None => {}
        }
        if let Some(what) = self.stream.damage() {
            return Err(Unavailable::Damaged(what.clone()).into());
        }
        if tx.get(slot).record.closed {
            return self.repeat_close(tx, slot);
        }
        if !self.content_type_matches {
            let expected = self.stream.content_type.as_str();
            return Err(AppendError::ContentType(expected.to_owned()));
        }
        let producer = match &self.producer {
            Some(stamp) => match judge(tx, slot, stamp)? {
                Outcome::Duplicate(state) => return Ok(reply(tx, slot, true, Some(state))),
                Outcome::Accept(state) => Some((stamp, state)),
            },
            None => None,
        };
        self.check_expected_tail(tx, slot)?;
        self.check_stream_seq(tx, slot)?;
        self.check_size(tx, slot)?;

        // Nothing fails from here on: a refused command leaves nothing in the batch.
        if let Some((stamp, state)) = producer {
            tx.set_writer(slot, stamp.id.clone(), Progress::Producer(state));
        }
        if let (Some(seq), Some(scope)) = (&self.stream_seq, self.writer) {
            tx.set_writer(slot, scope_key(scope), Progress::Sequence(seq.as_str().into()));
        }
        self.change(tx, slot);
        Ok(reply(tx, slot, false, producer.map(|(_, state)| state)))
    }

    fn landed(&self, reply: &mut Self::Reply, landings: &Landings) {
        if let Ok(Appended { tail, .. })
        | Err(
            AppendError::SeqRegression { tail, .. }
            | AppendError::UnexpectedTail { tail }
            // Closed by a command of the same batch.
            | AppendError::Closed { tail }
            | AppendError::StaleEpoch {
                closed_at: Some(tail), ..
            },
        ) = reply
        {
            landings.correct(self.stream.id, tail);
        }
    }
}

impl Append {
    /// Stages an accepted append.
    fn change(&self, tx: &mut Transaction<'_>, slot: Slot) {
        let now = tx.context.now;
        let staged = tx.get_mut(slot);
        let start = staged.tail;
        staged.append(self.data.clone());
        if self.stream_seq.is_some() && self.writer.is_none() {
            staged.record_mut().stream_seq.clone_from(&self.stream_seq);
        }
        if self.close {
            let record = staged.record_mut();
            record.closed = true;
            record.closed_by.clone_from(&self.producer);
        }
        staged.stream.touch(now);
        if staged
            .lifetimes()
            .needs_flush(&staged.record, staged.stream.touched_at())
        {
            staged.flush_access_time();
        }
        if !self.data.is_empty() {
            trim::appended(tx, slot, start);
        }
    }

    /// A closed stream accepts nothing, but the request that closed it may be repeated, and so may
    /// a close without content.
    fn repeat_close(&self, tx: &mut Transaction<'_>, slot: Slot) -> Result<Appended, AppendError> {
        if let Some(stamp) = &self.producer {
            if tx.get(slot).record.closed_by.as_ref() == Some(stamp) {
                let state = ProducerState {
                    epoch: stamp.epoch,
                    seq: stamp.seq,
                };
                return Ok(reply(tx, slot, true, Some(state)));
            }
            if let Err(stale @ AppendError::StaleEpoch { .. }) = judge(tx, slot, stamp) {
                return Err(stale);
            }
        } else if self.close && self.data.is_empty() && self.content_type_matches {
            return Ok(reply(tx, slot, true, None));
        }
        Err(AppendError::Closed {
            tail: tx.get(slot).offset(),
        })
    }

    fn check_expected_tail(&self, tx: &mut Transaction<'_>, slot: Slot) -> Result<(), AppendError> {
        let Some(expected) = self.expected_tail else {
            return Ok(());
        };
        let tail = tx.get(slot).offset();
        if tail != expected {
            return Err(AppendError::UnexpectedTail { tail });
        }
        // The append must not land after another server's.
        tx.get_mut(slot).limit_headroom(0);
        Ok(())
    }

    fn check_stream_seq(&self, tx: &mut Transaction<'_>, slot: Slot) -> Result<(), AppendError> {
        let Some(given) = &self.stream_seq else { return Ok(()) };
        let last = match self.writer {
            None => tx.get(slot).record.stream_seq.clone(),
            Some(scope) => tx.sequence(slot, &scope_key(scope))?,
        };
        match last {
            Some(last) if given.as_bytes() <= last.as_bytes() => {
                let tail = tx.get(slot).offset();
                Err(AppendError::SeqRegression { last, tail })
            }
            _ => Ok(()),
        }
    }

    /// Whether the append fits into its stream. The stream's writers count as well, unless its
    /// retention makes room: that could trim only content.
    fn check_size(&self, tx: &mut Transaction<'_>, slot: Slot) -> Result<(), AppendError> {
        let staged = tx.get(slot);
        let len = stored_len(staged.record.framing, self.data.len() as u64);
        let Some(headroom) = Offset::MAX_POSITION.saturating_sub(staged.tail).checked_sub(len) else {
            return Err(AppendError::TooLarge(Offset::MAX_POSITION));
        };
        tx.get_mut(slot).limit_headroom(headroom);
        let Some(limit) = tx.context.config.limits.stream_bytes().filter(|_| len > 0) else {
            return Ok(());
        };
        // Without the frame's header, so that content of exactly the limit fits.
        let kept = trim::kept_after(tx, slot, self.data.len() as u64);
        let headroom = limit.checked_sub(kept).ok_or(AppendError::TooLarge(limit))?;
        // Most streams are so far from the limit that their writers need not be read.
        let largest = max_size(tx.context.config.limits.max_producers_per_stream);
        if largest <= headroom || trim::limits_size(tx, slot) {
            tx.get_mut(slot).limit_headroom(headroom);
            return Ok(());
        }
        let headroom = headroom.checked_sub(self.writers_size(tx, slot)?);
        let headroom = headroom.ok_or(AppendError::TooLarge(limit))?;
        tx.get_mut(slot).limit_headroom(headroom);
        Ok(())
    }

    /// The bytes that a stream's writers occupy, with the producer of this append.
    fn writers_size(&self, tx: &mut Transaction<'_>, slot: Slot) -> Result<u64, AppendError> {
        let writers = tx.writers(slot)?;
        let is_new = |stamp: &&ProducerStamp| writers.progress(&stamp.id).is_none();
        let new = self.producer.as_ref().filter(is_new);
        Ok(writers.size() + new.map_or(0, |stamp| WriterState::OVERHEAD + stamp.id.len() as u64))
    }
}

fn judge(tx: &mut Transaction<'_>, slot: Slot, stamp: &ProducerStamp) -> Result<Outcome, AppendError> {
    let known = tx.producer(slot, &stamp.id)?;
    producers::judge(known, stamp).map_err(|error| match error {
        ProducerError::StaleEpoch { current } => {
            let staged = tx.get(slot);
            let closed_at = staged.record.closed.then_some(staged.offset());
            AppendError::StaleEpoch { current, closed_at }
        }
        ProducerError::EpochStart => AppendError::EpochStart,
        ProducerError::SeqGap { expected, received } => AppendError::SeqGap { expected, received },
    })
}

fn reply(tx: &Transaction<'_>, slot: Slot, duplicate: bool, producer: Option<ProducerState>) -> Appended {
    let staged = tx.get(slot);
    Appended {
        tail: staged.offset(),
        closed: staged.record.closed,
        duplicate,
        producer,
    }
}
