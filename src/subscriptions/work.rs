//! What workers do: claim, acknowledge, release (sections 7.1 to 7.3).

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;

use super::{
    Inner, Subscriptions,
    decide::{Ack, BadAck, ClaimConflict, PendingStream, WakeRef},
    errors::{AckError, ClaimError, NotFound, TokenError},
    live::{ChangeError, Live, MAX_MOVES, Subscription, unless_moved},
    scan::{Breadth, CONCURRENT_LOOK_UPS},
    state::{Event, State},
    token::Secret,
};
use crate::{
    engine::{ReadError, Unavailable},
    protocol::{Millis, Offset, ReadFrom},
};

/// Chunks of streams that a request reads at a time. Each may take 1 MiB.
const CONCURRENT_CHUNKS: usize = 16;

/// The holder of a token that was issued for a subscription, at some time.
#[derive(Clone)]
pub struct Holder {
    subscription: Arc<Subscription>,
    generation: u64,
}

/// A claim that succeeded.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The wake.
    pub wake: WakeRef,
    /// For acknowledgements.
    pub token: String,
    /// The work.
    pub streams: Vec<PendingStream>,
    /// How long the worker may be silent.
    pub lease_ttl: Duration,
}

impl Subscriptions {
    /// The holder of a token, as far as this server knows. Neither waits nor reads anything, so it
    /// costs little however many tokens are tried.
    #[must_use]
    pub fn known_holder(&self, id: &str, token: &str) -> Option<Holder> {
        let found = self.inner.get(&id.into());
        let secret = found.as_ref().and_then(|found| found.secret.read().clone());
        // As much work for a subscription that does not exist.
        let is_known = secret.is_some();
        let generation = secret.unwrap_or_else(Secret::none).verify(token)?;
        found.filter(|_| is_known).map(|subscription| Holder {
            subscription,
            generation,
        })
    }

    /// The holder of a token. Asks the store about a subscription that another server may have
    /// created, so limit how often one client may call it in vain.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn holder(&self, id: &str, token: &str) -> Result<Holder, TokenError> {
        self.loaded().await?;
        let known = self.known_holder(id, token);
        if known.is_some() || !self.inner.engine.is_shared() || !Secret::is_well_formed(token) {
            return known.ok_or(TokenError::Invalid);
        }
        let subscription = match self.find(id).await {
            Ok(subscription) => subscription,
            Err(NotFound::NotFound) => return Err(TokenError::Invalid),
            Err(NotFound::Unavailable(unavailable)) => return Err(unavailable.into()),
        };
        // Another one may have taken its place.
        let mut live = subscription.live.lock().await;
        self.inner.refresh(&subscription, &mut live).await?;
        drop(live);
        self.known_holder(id, token).ok_or(TokenError::Invalid)
    }

    /// Acknowledges for a webhook's wake. Returns whether another wake follows.
    ///
    /// # Errors
    /// See [`AckError`].
    pub async fn call_back(&self, holder: &Holder, wake: &WakeRef, acks: &[Ack], done: bool) -> Result<bool, AckError> {
        self.acknowledge(holder, wake, acks, done, true).await
    }

    /// Acknowledges for a claimed wake. Returns whether another wake follows.
    ///
    /// # Errors
    /// See [`AckError`].
    pub async fn ack(&self, holder: &Holder, wake: &WakeRef, acks: &[Ack], done: bool) -> Result<bool, AckError> {
        self.acknowledge(holder, wake, acks, done, false).await
    }

    async fn acknowledge(
        &self,
        holder: &Holder,
        wake: &WakeRef,
        acks: &[Ack],
        done: bool,
        is_callback: bool,
    ) -> Result<bool, AckError> {
        let (inner, holder) = (Arc::clone(&self.inner), holder.clone());
        let (wake, acks) = (wake.clone(), acks.to_vec());
        self.complete(async move { inner.acknowledge(&holder, &wake, &acks, done, is_callback).await })
            .await
    }

    /// Gives a claimed wake up, without acknowledging anything.
    ///
    /// # Errors
    /// See [`AckError`].
    pub async fn release(&self, holder: &Holder, wake: &WakeRef) -> Result<(), AckError> {
        let (inner, holder, wake) = (Arc::clone(&self.inner), holder.clone(), wake.clone());
        self.complete(async move { inner.release(&holder, &wake).await }).await
    }

    /// Claims a subscription for a worker.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub async fn claim(&self, id: &str, worker: &str) -> Result<Claimed, ClaimError> {
        self.loaded().await?;
        let subscription = self.find(id).await?;
        let (inner, worker) = (Arc::clone(&self.inner), worker.to_owned());
        self.complete(async move { inner.claim(&subscription, &worker).await })
            .await
    }
}

fn claim(state: &State, streams: Vec<PendingStream>) -> Option<Claimed> {
    Some(Claimed {
        wake: WakeRef {
            wake_id: state.wake.as_ref()?.id.clone(),
            generation: state.generation,
        },
        token: state.secret.token(state.generation),
        streams,
        lease_ttl: Duration::from_millis(state.definition.lease_ttl_ms),
    })
}

impl Inner {
    async fn claim(&self, subscription: &Subscription, worker: &str) -> Result<Claimed, ClaimError> {
        for _ in 0..MAX_MOVES {
            self.pass_marks();
            let mut live = subscription.live.lock().await;
            let as_of = self.clock.millis();
            self.refresh(subscription, &mut live).await?;
            let state = live.state().ok_or(NotFound::NotFound)?;
            if state.is_webhook() {
                return Err(ClaimError::WrongType);
            }
            let now = self.clock.millis();
            self.mark_streams_of_wake(subscription, state);
            let Some(pending) = unless_moved(self.look_for_worker(subscription, &mut live, now).await)? else {
                continue;
            };
            let state = live.state().ok_or(NotFound::NotFound)?;
            let (events, refused) = match state.claim(worker, &pending, self.wake_id(), now) {
                Ok(events) => (events, None),
                Err(ClaimConflict::Nothing) => (state.without_work(), Some(ClaimError::NoPendingWork)),
                Err(ClaimConflict::Paused) => (Vec::new(), Some(ClaimError::Paused)),
                Err(ClaimConflict::Claimed { holder, generation }) => {
                    (Vec::new(), Some(ClaimError::AlreadyClaimed { holder, generation }))
                }
            };
            let committed = self.commit(subscription, &mut live, events, None).await;
            if unless_moved(committed)?.is_none() {
                continue;
            }
            self.metrics.claimed(refused.is_none());
            if let Some(refused) = refused {
                return Err(refused);
            }
            self.arm(subscription, &live, as_of);
            return live
                .state()
                .and_then(|state| claim(state, pending))
                .ok_or_else(|| Unavailable::Raced.into());
        }
        Err(Unavailable::Raced.into())
    }

    /// The pending streams, as far as a worker may wait for them to be found.
    async fn look_for_worker(
        &self,
        subscription: &Subscription,
        live: &mut Live,
        now: Millis,
    ) -> Result<Vec<PendingStream>, ChangeError> {
        let pending = self.look(subscription, live).await?;
        match live.state() {
            Some(state) if pending.is_empty() && self.may_miss_marks(state, now) => {
                self.examine_state(subscription, state, Breadth::Page).await?;
                self.look(subscription, live).await
            }
            _ => Ok(pending),
        }
    }

    async fn release(&self, holder: &Holder, wake: &WakeRef) -> Result<(), AckError> {
        let subscription = &holder.subscription;
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            let as_of = self.clock.millis();
            self.refresh(subscription, &mut live).await?;
            self.held(&live, holder, wake, false)?;
            let ended = vec![Event::Ended { done: false }];
            let committed = self.commit(subscription, &mut live, ended, None).await;
            if unless_moved(committed)?.is_some() {
                self.arm(subscription, &live, as_of);
                self.schedule(subscription);
                return Ok(());
            }
        }
        Err(Unavailable::Raced.into())
    }

    async fn acknowledge(
        &self,
        holder: &Holder,
        wake: &WakeRef,
        acks: &[Ack],
        done: bool,
        is_callback: bool,
    ) -> Result<bool, AckError> {
        let subscription = &holder.subscription;
        for _ in 0..MAX_MOVES {
            let mut live = subscription.live.lock().await;
            let as_of = self.clock.millis();
            self.refresh(subscription, &mut live).await?;
            let state = self.held(&live, holder, wake, is_callback)?;
            self.check_all(state, acks).await?;
            // What another server has appended to them meanwhile is for the next wake.
            self.mark_streams_of_wake(subscription, state);
            let events = state.acknowledge(acks, done, self.clock.millis());
            let committed = self.commit(subscription, &mut live, events, None).await;
            if unless_moved(committed)?.is_some() {
                self.arm(subscription, &live, as_of);
                return Ok(done && self.follows(subscription, &mut live).await);
            }
        }
        Err(Unavailable::Raced.into())
    }

    /// The state, if the holder may act on the wake now.
    fn held<'l>(
        &self,
        live: &'l Live,
        holder: &Holder,
        wake: &WakeRef,
        is_callback: bool,
    ) -> Result<&'l State, AckError> {
        let state = live.state().ok_or(TokenError::Invalid)?;
        match (state.is_webhook(), is_callback) {
            (true, false) => {
                return Err(AckError::WrongType(
                    "a webhook subscription is acknowledged at its callback",
                ));
            }
            (false, true) => return Err(AckError::WrongType("a pull-wake subscription has no callback; use ack")),
            _ => {}
        }
        if !state.is_current(holder.generation, wake, self.clock.millis()) {
            self.metrics.fenced();
            return Err(AckError::Fenced);
        }
        Ok(state)
    }

    /// Whether the cursors may move: forwards, and to where the streams can be read on.
    async fn check_all(&self, state: &State, acks: &[Ack]) -> Result<(), AckError> {
        for some in acks.chunks(CONCURRENT_LOOK_UPS) {
            // Together, because a shared store answers all in one round trip.
            let within = try_join_all(some.iter().map(|ack| self.is_within(state, ack))).await?;
            let within: Vec<&Ack> = some
                .iter()
                .zip(within)
                .filter(|(_, within)| *within)
                .map(|(ack, _)| ack)
                .collect();
            for some in within.chunks(CONCURRENT_CHUNKS) {
                try_join_all(some.iter().map(|ack| self.check_boundary(ack))).await?;
            }
        }
        Ok(())
    }

    /// Whether an offset that a cursor may move to lies within the new content, not at one of its ends.
    async fn is_within(&self, state: &State, ack: &Ack) -> Result<bool, AckError> {
        let stream = || ack.stream.as_str().to_owned();
        let link = state
            .links
            .get(&ack.stream)
            .ok_or_else(|| BadAck::NotLinked(stream()))?;
        let extent = self.engine.extent(&ack.stream).await?;
        let extent = extent.ok_or_else(|| BadAck::NoStream(stream()))?;
        if !extent.has(ack.offset) {
            return Err(BadAck::Foreign(stream()).into());
        }
        let acked = extent.effective(link.acked.0);
        if acked != Offset::BEGINNING && ack.offset.position < acked.position {
            let acked = acked.to_string();
            return Err(BadAck::Regresses {
                stream: stream(),
                acked,
            }
            .into());
        }
        Ok(ack.offset != extent.tail() && ack.offset != acked)
    }

    /// Whether an offset lies between two messages.
    async fn check_boundary(&self, ack: &Ack) -> Result<(), AckError> {
        match self.engine.read(&ack.stream, ReadFrom::At(ack.offset)).await {
            Ok(_) | Err(ReadError::Trimmed { .. }) => Ok(()),
            Err(ReadError::Unavailable(unavailable)) => Err(unavailable.into()),
            Err(ReadError::NotFound | ReadError::Gone | ReadError::OtherLife { .. } | ReadError::InvalidOffset) => {
                Err(BadAck::Foreign(ack.stream.as_str().to_owned()).into())
            }
        }
    }

    /// Whether other servers may have marks for a subscription that a worker could claim.
    fn may_miss_marks(&self, state: &State, now: Millis) -> bool {
        let is_held = state.current_wake(now).is_some_and(|wake| wake.holder.is_some());
        self.engine.is_shared() && !is_held && !state.paused
    }

    /// Whether another wake follows one that is done.
    async fn follows(&self, subscription: &Subscription, live: &mut Live) -> bool {
        self.pass_marks();
        self.schedule(subscription);
        let pending = self.look(subscription, live).await;
        let is_active = live.state().is_some_and(|state| !state.paused);
        is_active && pending.is_ok_and(|pending| !pending.is_empty())
    }
}
