//! A turn: looks at one subscription and issues the next wake if it is due.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Inner,
    decide::PendingStream,
    deliver::Delivery as Attempt,
    index::Id,
    live::{ChangeError, Live, MAX_MOVES, Notice, Noticed, Subscription},
    state::{Delivery, Event, LinkType, State},
    sync::OVERSIGHT_DELAY,
};
use crate::{
    engine::Unavailable,
    protocol::{Millis, Offset, StreamName},
    webhook::Slot,
};

/// Streams that one wake has at most. The others are left for the next one.
pub(super) const MAX_STREAMS_PER_WAKE: usize = 1000;
/// The wait after a turn that failed.
const RETRY_MILLIS: Millis = 1000;

/// The right to a turn.
enum Admission {
    /// One of a number of turns.
    Turn(#[allow(dead_code, reason = "held until the turn ends")] OwnedSemaphorePermit),
    /// A delivery's slot.
    Delivery(Slot),
}

impl Inner {
    /// Looks at a subscription. Called by the dispatcher, in a task.
    pub(super) async fn turn(self: Arc<Self>, id: Id) {
        let Some(subscription) = self.get(&id) else { return };
        let admission = tokio::select! {
            admission = self.admit(&subscription) => admission,
            () = self.stopped.cancelled() => return,
        };
        let Some(admission) = admission else { return };
        subscription.is_scheduled.store(false, Ordering::SeqCst);
        if self.stopped.is_cancelled() {
            return;
        }
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            let as_of = self.clock.millis();
            match self.advance(&subscription, &mut live).await {
                Ok(attempt) => {
                    self.arm(&subscription, &live, as_of);
                    drop(live);
                    if let Some(attempt) = attempt {
                        self.attempt(subscription, attempt, admission).await;
                    }
                    return;
                }
                Err(ChangeError::Moved) => {}
                Err(ChangeError::Unavailable(Unavailable::Stopping)) => return,
                Err(error) => {
                    if let Some(suppressed) = self.failures.allow("turn") {
                        tracing::warn!(subscription = &*id, %error, suppressed, "could not look at a subscription; will retry");
                    }
                    break;
                }
            }
        }
        self.retry_soon(&subscription);
    }

    /// Gives a subscription another turn after one that failed.
    pub(super) fn retry_soon(&self, subscription: &Subscription) {
        let retry_at = self.clock.millis().saturating_add(RETRY_MILLIS);
        self.set_timer(subscription, Some(retry_at));
    }

    /// Waits until a turn may begin. A delivery's slot comes before its wake, whose lease would run
    /// while it waits.
    async fn admit(&self, subscription: &Subscription) -> Option<Admission> {
        let url = {
            let live = subscription.live.lock().await;
            match live.state().map(|state| &state.definition.delivery) {
                Some(Delivery::Webhook { url }) => self.policy.check(url).ok(),
                _ => None,
            }
        };
        match url {
            Some(url) => Some(Admission::Delivery(self.deliverer.slot(&url).await)),
            None => Some(Admission::Turn(Arc::clone(&self.turns).acquire_owned().await.ok()?)),
        }
    }

    async fn attempt(self: &Arc<Self>, subscription: Arc<Subscription>, attempt: Attempt, admission: Admission) {
        let generation = attempt.generation;
        let (_turn, slot) = match admission {
            Admission::Turn(permit) => (Some(permit), None),
            Admission::Delivery(slot) => (None, Some(slot)),
        };
        self.deliver(&subscription, attempt, slot).await;
        let mut live = subscription.live.lock().await;
        if live.delivering == Some(generation) {
            live.delivering = None;
        }
    }

    /// Issues the next wake if it is due. Returns the delivery of a webhook's wake.
    async fn advance(
        self: &Arc<Self>,
        subscription: &Subscription,
        live: &mut Live,
    ) -> Result<Option<Attempt>, ChangeError> {
        self.refresh(subscription, live).await?;
        let now = self.clock.millis();
        let Some(state) = live.state() else { return Ok(None) };
        if state.paused || !Self::may_wake(state, live, now) {
            return Ok(None);
        }
        self.mark_streams_of_wake(subscription, state);
        let pending = self.look(subscription, live).await?;
        let Some(state) = live.state() else { return Ok(None) };
        let Some(first) = pending.first() else {
            if state.retry.is_some() {
                // The streams of the failed delivery are gone or acknowledged, so there is no retry.
                let ended = vec![Event::Ended { done: true }];
                self.commit(subscription, live, ended, None).await?;
            }
            return Ok(None);
        };
        let mut events = State::link_new(&pending);
        events.push(state.wake(&pending, self.wake_id(), now));
        let notice = self.notice(subscription, state, &first.stream, now)?;
        let noticed = self.commit(subscription, live, events, notice).await?;
        self.metrics.woken();
        if noticed == Noticed::Refused {
            self.repeat_notice(subscription, live, now).await?;
        }
        let Some(state) = live.state() else { return Ok(None) };
        let attempt = Attempt::of(subscription, state, &pending);
        // The streams that are left out come first in the next wake.
        let told = attempt.as_ref().map_or(&pending[..], Attempt::streams);
        told.iter().for_each(|stream| {
            subscription.pending.lock().postpone(&stream.stream);
        });
        if let Some(attempt) = &attempt {
            live.delivering = Some(attempt.generation);
        }
        Ok(attempt)
    }

    /// Has a wake replaced whose event was refused by the wake stream. It can be claimed meanwhile.
    async fn repeat_notice(
        &self,
        subscription: &Subscription,
        live: &mut Live,
        now: Millis,
    ) -> Result<(), ChangeError> {
        let Some(state) = live.state() else { return Ok(()) };
        let failed = state.fail(now, &self.random);
        // If this cannot be stored, the next turn replaces it.
        live.cut_off = Some(state.generation);
        self.commit(subscription, live, vec![failed], None).await.map(drop)
    }

    /// Marks what another server, or this one before its last start, may have marked.
    pub(super) fn mark_streams_of_wake(&self, subscription: &Subscription, state: &State) {
        if let Some(wake) = &state.wake {
            let now = self.clock.millis();
            for name in &wake.streams {
                subscription.mark(name, now);
            }
        }
    }

    /// Whether no wake is in flight, and no attempt is to be waited for.
    fn may_wake(state: &State, live: &Live, now: Millis) -> bool {
        if live.delivering == Some(state.generation) && state.wake.is_some() {
            // The delivery ends by itself, before its lease does or not much later.
            return false;
        }
        let is_cut_off = live.cut_off == Some(state.generation);
        let has_failed = state.retry.is_some_and(|retry| retry.generation == state.generation);
        if state.retry.is_some_and(|retry| retry.is_waiting(now)) {
            return false;
        }
        match state.current_wake(now) {
            None => true,
            // A wake whose delivery failed, or was cut off with its server, is replaced, unless a
            // worker has it after all.
            Some(wake) => (has_failed || is_cut_off) && !wake.accepted && wake.holder.is_none(),
        }
    }

    /// The event for the wake stream (section 7.2).
    fn notice(
        &self,
        subscription: &Subscription,
        state: &State,
        stream: &StreamName,
        now: Millis,
    ) -> Result<Option<Notice>, ChangeError> {
        let Delivery::PullWake { wake_stream } = &state.definition.delivery else {
            return Ok(None);
        };
        let event = serde_json::json!({
            "type": "wake",
            "subscription_id": &*subscription.id,
            "stream": stream.as_str(),
            "generation": state.generation.saturating_add(1),
            "ts": now,
        });
        Ok(Some((wake_stream.clone(), Bytes::from(event.to_string()))))
    }

    /// The streams that have content after their cursors. Removes the links of streams that do not
    /// exist any longer: nothing tells of them again.
    pub(super) async fn look(
        &self,
        subscription: &Subscription,
        live: &mut Live,
    ) -> Result<Vec<PendingStream>, ChangeError> {
        loop {
            let Some(state) = live.state() else {
                return Ok(Vec::new());
            };
            let marked = subscription.pending.lock().first(MAX_STREAMS_PER_WAKE);
            // Together, because a shared store answers all in one round trip.
            let extents = try_join_all(marked.iter().map(|(name, _)| async move {
                let is_linked = state.links.contains_key(name) || state.definition.links(name);
                match is_linked {
                    true => self.engine.extent(name).await,
                    false => Ok(None),
                }
            }));
            let extents = extents.await?;
            let (mut pending, mut gone, mut settled) = (Vec::new(), Vec::new(), Vec::new());
            for ((name, version), extent) in marked.iter().zip(extents) {
                let link = state.links.get(name).copied();
                let cursor = link.map_or(Offset::BEGINNING, |link| link.acked.0);
                let exists = extent.is_some();
                match extent.filter(|extent| extent.continues_after(cursor)) {
                    Some(extent) if link.is_some() || self.has_room(subscription, state) => {
                        pending.push(PendingStream {
                            stream: name.clone(),
                            link: link.map_or(LinkType::Glob, |link| link.link_type()),
                            acked: extent.effective(cursor),
                            tail: extent.tail(),
                            is_new: link.is_none(),
                        });
                    }
                    _ => {
                        if link.is_some_and(|link| link.glob) && !exists {
                            let (stream, link) = (name.clone(), LinkType::Glob);
                            gone.push(Event::Unlinked { stream, link });
                        }
                        settled.push((name, *version));
                    }
                }
            }
            self.commit(subscription, live, gone, None).await?;
            for (name, version) in &settled {
                subscription.pending.lock().clear(name, *version);
            }
            if settled.is_empty() || !pending.is_empty() {
                if subscription.pending.lock().take_incomplete() {
                    self.want_examined(&subscription.id);
                }
                return Ok(pending);
            }
        }
    }

    fn has_room(&self, subscription: &Subscription, state: &State) -> bool {
        if self.may_link_one(state) {
            return true;
        }
        self.metrics.link_refused();
        subscription.note_refused_link(self.clock.millis());
        if let Some(suppressed) = self.failures.allow("links") {
            tracing::error!(
                subscription = &*subscription.id,
                links = state.links.len(),
                suppressed,
                "a stream is not linked to a subscription, because subscriptions.max_links or \
                 subscriptions.max_links_per_subscription is reached; its events are not delivered"
            );
        }
        false
    }

    /// Has the dispatcher come back when something is due. If servers share the store, the one that
    /// made the last change sees to it, and a little later the one that looks after the others, or
    /// has marked streams.
    ///
    /// `as_of` is a moment before the state was judged: what has become due since then, nobody has
    /// seen.
    pub(super) fn arm(&self, subscription: &Subscription, live: &Live, as_of: Millis) {
        let due_at = live.state().and_then(|state| state.due_at(as_of));
        let is_own = live.is_own || !self.engine.is_shared();
        let looks_later = || self.marks.oversees() || subscription.has_pending();
        self.set_timer(
            subscription,
            match due_at {
                Some(at) if is_own => Some(at),
                Some(at) if looks_later() => Some(at.saturating_add(OVERSIGHT_DELAY)),
                _ => None,
            },
        );
    }
}
