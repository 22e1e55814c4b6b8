//! The delivery of a webhook's wake, and what follows from the receiver's answer (section 7.1).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Serialize;

use super::{
    Inner,
    decide::PendingStream,
    keys::KeysError,
    live::{ChangeError, MAX_MOVES, Subscription},
    state::{Delivery as Kind, Event, LinkType, State},
};
use crate::webhook::{Answer, DeliveryError, Slot, TargetError};

/// The longest list of streams in a request, in bytes. The others are left for the next wake.
const MAX_LIST_BYTES: usize = 64 * 1024;

/// One attempt to deliver a wake.
pub(super) struct Delivery {
    pub(super) generation: u64,
    /// Another subscription of the same id may reach the same generation.
    wake_id: String,
    url: String,
    body: Bytes,
    snapshot: Vec<PendingStream>,
    lease: Duration,
}

#[derive(Serialize)]
struct Body<'b> {
    subscription_id: &'b str,
    wake_id: &'b str,
    generation: u64,
    streams: Vec<Stream<'b>>,
    callback_url: String,
    callback_token: String,
}

/// A stream as workers see it.
#[derive(Serialize)]
struct Stream<'b> {
    path: &'b str,
    link_type: LinkType,
    acked_offset: String,
    tail_offset: String,
    has_pending: bool,
}

impl Delivery {
    /// `None` for a subscription without a webhook.
    pub(super) fn of(subscription: &Subscription, state: &State, pending: &[PendingStream]) -> Option<Self> {
        let Kind::Webhook { url } = &state.definition.delivery else {
            return None;
        };
        let wake = state.wake.as_ref()?;
        let mut bytes = 0;
        let fits = pending.iter().take_while(|stream| {
            bytes += stream.stream.as_str().len() + 200;
            bytes <= MAX_LIST_BYTES
        });
        let fitting = fits.count().max(1);
        let snapshot: Vec<_> = pending.iter().take(fitting).cloned().collect();
        let body = Body {
            subscription_id: &subscription.id,
            wake_id: &wake.id,
            generation: state.generation,
            streams: snapshot.iter().map(Stream::of).collect(),
            callback_url: format!(
                "{}/{}/callback",
                super::root(&state.root_url),
                super::encoded(&subscription.id)
            ),
            callback_token: state.secret.token(state.generation),
        };
        Some(Self {
            generation: state.generation,
            wake_id: wake.id.clone(),
            url: url.clone(),
            body: serde_json::to_vec(&body).ok()?.into(),
            snapshot,
            lease: Duration::from_millis(state.definition.lease_ttl_ms),
        })
    }

    /// The streams that the request names.
    pub(super) fn streams(&self) -> &[PendingStream] {
        &self.snapshot
    }
}

impl<'b> Stream<'b> {
    fn of(pending: &'b PendingStream) -> Self {
        Self {
            path: pending.stream.as_str(),
            link_type: pending.link,
            acked_offset: pending.acked.to_string(),
            tail_offset: pending.tail.to_string(),
            has_pending: true,
        }
    }
}

/// Why an attempt has failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the lease ended before the receiver answered")]
    Lease,
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("the delivery cannot be signed")]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

impl Failure {
    fn kind(&self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Target(_) => "url",
            Self::Keys(_) => "keys",
            Self::Delivery(error) => error.kind(),
        }
    }
}

impl Inner {
    /// Delivers a wake and commits what its receiver answers.
    pub(super) async fn deliver(
        self: &Arc<Self>,
        subscription: &Arc<Subscription>,
        delivery: Delivery,
        slot: Option<Slot>,
    ) {
        let sent = self.send(&delivery, slot);
        let answer = tokio::select! {
            answer = tokio::time::timeout(delivery.lease, sent) => answer,
            // The next holder of the store delivers again.
            () = self.aborted.cancelled() => return,
        };
        let answer = answer.unwrap_or(Err(Failure::Lease));
        self.metrics.delivered(match &answer {
            Ok(Answer::Done) => "done",
            Ok(Answer::Accepted) => "accepted",
            Err(_) => "failed",
        });
        if let Err(why) = &answer
            && let Some(suppressed) = self.failures.allow("delivery")
        {
            let why = with_sources(why);
            tracing::warn!(
                subscription = &*subscription.id,
                generation = delivery.generation,
                why,
                suppressed,
                "a webhook delivery failed; will retry"
            );
        }
        for _ in 0..MAX_MOVES {
            match self.settle(subscription, &delivery, &answer).await {
                Err(ChangeError::Moved) => {}
                Ok(()) => return,
                Err(ChangeError::Unavailable(error)) => {
                    tracing::warn!(subscription = &*subscription.id, %error, "could not commit the answer to a webhook delivery");
                    break;
                }
            }
        }
        // Nothing was acknowledged, so the wake is issued again. The timer of its lease may have fired
        // during the delivery.
        self.retry_soon(subscription);
    }

    async fn send(&self, delivery: &Delivery, slot: Option<Slot>) -> Result<Answer, Failure> {
        // The configuration may have changed since the subscription was created.
        let url = self.policy.check(&delivery.url)?;
        let signature = self.keys.sign(&self.engine, &self.clock, &delivery.body).await?;
        let slot = match slot {
            Some(slot) => slot,
            None => self.deliverer.slot(&url).await,
        };
        let body = delivery.body.clone();
        Ok(self.deliverer.deliver(slot, &url, body, &signature).await?)
    }

    async fn settle(
        self: &Arc<Self>,
        subscription: &Arc<Subscription>,
        delivery: &Delivery,
        answer: &Result<Answer, Failure>,
    ) -> Result<(), ChangeError> {
        let mut live = subscription.live.lock().await;
        if live.delivering == Some(delivery.generation) {
            live.delivering = None;
        }
        let as_of = self.clock.millis();
        self.refresh(subscription, &mut live).await?;
        let now = self.clock.millis();
        let Some(state) = live.state() else { return Ok(()) };
        // A callback or a later wake has come first.
        if state.wake.as_ref().is_none_or(|wake| wake.id != delivery.wake_id) {
            drop(live);
            self.schedule(subscription);
            return Ok(());
        }
        let events = match answer {
            // Its lease has ended, and with it the right to move cursors.
            Ok(_) if state.current_wake(now).is_none() => Vec::new(),
            Ok(Answer::Done) => state.finish(&delivery.snapshot),
            Ok(Answer::Accepted) => vec![Event::Accepted],
            // The receiver called back although its response was lost.
            Err(_) if state.wake.as_ref().is_some_and(|wake| wake.accepted) => Vec::new(),
            Err(failure) => {
                self.metrics.failed(failure.kind());
                vec![state.fail(now, &self.random)]
            }
        };
        self.commit(subscription, &mut live, events, None).await?;
        self.arm(subscription, &live, as_of);
        drop(live);
        self.schedule(subscription);
        Ok(())
    }
}

/// An error and what caused it, on one line.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
