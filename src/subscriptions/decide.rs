//! What a request does to a subscription, as functions of its state: they return the events to
//! commit, or why there are none.

use std::time::Duration;

use super::state::{Cursor, Event, LinkType, MAX_RETRY, State, millis};
use crate::{
    protocol::{Millis, Offset, StreamName},
    random::Random,
};

const FIRST_RETRY: Duration = Duration::from_secs(1);

/// What a worker acknowledges, and for which wake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WakeRef {
    /// The id of the wake.
    pub wake_id: String,
    /// Its generation.
    pub generation: u64,
}

/// A cursor that a worker wants to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The stream.
    pub stream: StreamName,
    /// The last processed offset.
    pub offset: Offset,
}

/// An acknowledgement that would move a cursor to where it must not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAck {
    /// No such link.
    #[error("the stream {0:?} is not linked to the subscription")]
    NotLinked(String),
    /// The stream was deleted.
    #[error("the stream {0:?} does not exist")]
    NoStream(String),
    /// Backwards.
    #[error("the offset for {stream:?} lies before the acknowledged one, {acked}")]
    Regresses {
        /// The stream.
        stream: String,
        /// Its cursor.
        acked: String,
    },
    /// Not an offset of this stream up to its tail, or not between two messages.
    #[error("the offset for {0:?} was not issued by this server for this stream")]
    Foreign(String),
}

/// Why a worker could not claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClaimConflict {
    Claimed { holder: String, generation: u64 },
    Nothing,
    Paused,
}

/// A stream with content after its cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingStream {
    /// The stream.
    pub stream: StreamName,
    /// Why it is linked.
    pub link: LinkType,
    /// Its cursor.
    pub acked: Offset,
    /// Its tail.
    pub tail: Offset,
    /// It is not linked yet.
    pub(super) is_new: bool,
}

impl State {
    /// Whether a worker may act on a wake (section 7.3): the generation of its token, the
    /// generation and the id that it names must be the current ones.
    pub(super) fn is_current(&self, token_generation: u64, wake: &WakeRef, now: Millis) -> bool {
        let Some(current) = self.current_wake(now) else {
            return false;
        };
        // Nobody was given the token of a pull-wake that is not claimed.
        let is_held = self.is_webhook() || current.holder.is_some();
        is_held
            && token_generation == self.generation
            && wake.generation == self.generation
            && wake.wake_id == current.id
    }

    /// The events that link new streams before they are delivered (section 6.2).
    pub(super) fn link_new(pending: &[PendingStream]) -> Vec<Event> {
        let new = pending.iter().filter(|stream| stream.is_new);
        new.map(|stream| Event::Linked {
            stream: stream.stream.clone(),
            link: LinkType::Glob,
            acked: Cursor(Offset::BEGINNING),
        })
        .collect()
    }

    /// The next wake. The lease of a webhook begins with it.
    pub(super) fn wake(&self, pending: &[PendingStream], wake_id: String, now: Millis) -> Event {
        Event::Woken {
            streams: pending.iter().map(|stream| stream.stream.clone()).collect(),
            generation: self.generation.saturating_add(1),
            wake: wake_id,
            lease_until: self.is_webhook().then(|| self.lease_from(now)),
        }
    }

    /// Gives the subscription to a worker, with a wake if there is none.
    pub(super) fn claim(
        &self,
        worker: &str,
        pending: &[PendingStream],
        wake_id: String,
        now: Millis,
    ) -> Result<Vec<Event>, ClaimConflict> {
        let current = self.current_wake(now);
        if let Some(holder) = current.and_then(|wake| wake.holder.clone()) {
            let generation = self.generation;
            return Err(ClaimConflict::Claimed { holder, generation });
        }
        if self.paused {
            return Err(ClaimConflict::Paused);
        }
        if pending.is_empty() {
            return Err(ClaimConflict::Nothing);
        }
        let mut events = Self::link_new(pending);
        if current.is_none() {
            events.push(self.wake(pending, wake_id, now));
        }
        events.push(Event::Claimed {
            worker: worker.to_owned(),
            lease_until: self.lease_from(now),
        });
        Ok(events)
    }

    /// The events of a claim that finds nothing to do. The wake was for streams that are gone, and
    /// must not keep the next append from being announced.
    pub(super) fn without_work(&self) -> Vec<Event> {
        let ended = self.is_unclaimed().then_some(Event::Ended { done: false });
        ended.into_iter().collect()
    }

    /// The events that pause it, or resume it.
    pub(super) fn pause(&self, is_paused: bool) -> Vec<Event> {
        if self.paused == is_paused {
            return Vec::new();
        }
        if is_paused {
            return vec![Event::Paused];
        }
        // Workers that were refused meanwhile wait for another wake.
        let mut events = vec![Event::Resumed];
        events.extend(self.without_work());
        events
    }

    /// The events of an acknowledgement that was checked. Without `done` it extends the lease.
    pub(super) fn acknowledge(&self, acks: &[Ack], done: bool, now: Millis) -> Vec<Event> {
        let mut events: Vec<Event> = acks
            .iter()
            .map(|ack| Event::Acked {
                stream: ack.stream.clone(),
                offset: Cursor(ack.offset),
            })
            .collect();
        events.push(if done {
            Event::Ended { done: true }
        } else {
            Event::Extended {
                lease_until: self.lease_from(now),
            }
        });
        events
    }

    /// A receiver has answered that the wake of this snapshot is done. Cursors that callbacks have
    /// moved further stay.
    pub(super) fn finish(&self, snapshot: &[PendingStream]) -> Vec<Event> {
        let moves = |stream: &&PendingStream| {
            let link = self.links.get(&stream.stream);
            link.is_some_and(|link| link.acked.0 < stream.tail)
        };
        let acked = snapshot.iter().filter(moves).map(|stream| Event::Acked {
            stream: stream.stream.clone(),
            offset: Cursor(stream.tail),
        });
        acked.chain([Event::Ended { done: true }]).collect()
    }

    /// A delivery has failed: it is repeated after a backoff that doubles (section 7.1).
    pub(super) fn fail(&self, now: Millis, random: &Random) -> Event {
        let before = self.retry.map_or(0, |retry| retry.failures);
        let failures = before.saturating_add(1);
        let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(6));
        let delay = random.jittered(doubled.min(MAX_RETRY));
        Event::Failed {
            failures,
            next_attempt_at: now.saturating_add(millis(delay)),
        }
    }

    fn lease_from(&self, now: Millis) -> Millis {
        now.saturating_add(self.definition.lease_ttl_ms)
    }
}
