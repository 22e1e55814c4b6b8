//! Background tasks: expire streams, evict idle ones, and apply new retention rules.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Engine, Shared,
    errors::Unavailable,
    expire::{Expire, Touch},
    limits::RetentionRule,
    retention::{needs_policy, policy},
};
use crate::{
    log_throttle::LogThrottle,
    protocol::StreamName,
    storage::{DUTY_LEASE, Duty},
};

/// How often due streams are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// Streams expired, or checked against a rule, at once.
const PAGE: usize = 256;
/// The wait after new rules could not be applied, because the disk is full or the queue is.
const RULES_RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Expires due streams and evicts idle ones for as long as the engine lives.
pub(super) async fn sweep(engine: Weak<Shared>, stopped: CancellationToken) {
    let failures = LogThrottle::default();
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopped.cancelled() => return,
        }
        let Some(shared) = engine.upgrade() else { return };
        let engine = Engine { shared };
        engine.tend_followed();
        if let Err(error) = engine.sweep_if_on_duty().await
            && let Some(suppressed) = failures.allow("sweep")
        {
            tracing::warn!(%error, suppressed, "could not expire streams; will retry");
        }
        engine.evict_idle();
    }
}

/// Trims every stream that a rule of the configuration may be new to. Runs once, at the start.
pub(super) async fn apply_rules(engine: Weak<Shared>, rules: Arc<[RetentionRule]>) {
    if !has_retention_duty(&engine).await {
        return;
    }
    for rule in rules.iter() {
        let (prefix, mut after): (Arc<str>, _) = (rule.prefix().into(), None);
        loop {
            // Keeps the duty.
            if !has_retention_duty(&engine).await {
                return;
            }
            let Some(shared) = engine.upgrade() else { return };
            match (Engine { shared }).apply_rule(&rules, &prefix, after.clone()).await {
                Ok(Some(last)) => after = Some(last),
                Ok(None) => break,
                Err(Unavailable::Stopping) => return,
                Err(error) => {
                    tracing::warn!(%error, rule = %rule.streams, "could not apply a retention rule; will retry");
                    tokio::time::sleep(RULES_RETRY_INTERVAL).await;
                }
            }
        }
    }
}

/// Waits until this server has the duty of applying rules, one server at a time. `false`: the engine
/// is gone.
async fn has_retention_duty(engine: &Weak<Shared>) -> bool {
    loop {
        let Some(shared) = engine.upgrade() else { return false };
        let stopped = shared.stopped.clone();
        match (Engine { shared }).has_duty(Duty::Retention).await {
            Ok(true) => return true,
            Ok(false) => {}
            Err(Unavailable::Stopping) => return false,
            Err(error) => tracing::debug!(%error, "could not take the duty of applying retention rules; will retry"),
        }
        tokio::select! {
            () = tokio::time::sleep(DUTY_LEASE) => {}
            () = stopped.cancelled() => return false,
        }
    }
}

impl Engine {
    /// Whether this server does the work that one server does for all.
    pub(super) async fn has_duty(&self, duty: Duty) -> Result<bool, Unavailable> {
        let Some(sharing) = &self.shared.sharing else {
            return Ok(true);
        };
        if !self.shared.storage.blocking() {
            return Ok(sharing.has_duty(duty)?);
        }
        let sharing = Arc::clone(sharing);
        Ok(self.blocking(move || sharing.has_duty(duty)).await??)
    }

    /// Whether this server looks for subscriptions whose wake was lost with another server.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn looks_for_lost_wakes(&self) -> Result<bool, Unavailable> {
        self.has_duty(Duty::Subscriptions).await
    }

    async fn sweep_if_on_duty(&self) -> Result<(), Unavailable> {
        match self.has_duty(Duty::Sweep).await? {
            true => self.expire_due().await,
            false => Ok(()),
        }
    }

    /// Looks after the streams that are being read: stores that they are in use, which other servers do
    /// not see.
    fn tend_followed(&self) {
        let Some(sharing) = &self.shared.sharing else { return };
        sharing.followed().iter().for_each(|stream| self.note_use(stream));
    }

    /// Expires or trims all due streams.
    pub(super) async fn expire_due(&self) -> Result<(), Unavailable> {
        loop {
            let (storage, now) = (Arc::clone(&self.shared.storage), self.shared.clock.millis());
            let due = self.blocking(move || storage.due(now, PAGE)).await??;
            let more = due.len() == PAGE;
            self.expire(due).await?;
            if !more {
                return Ok(());
            }
            // A sweep may take longer than a stream lives.
            self.tend_followed();
        }
    }

    /// Sends all commands before it waits for any, so that they share a commit.
    async fn expire(&self, names: impl IntoIterator<Item = StreamName>) -> Result<(), Unavailable> {
        let replies: Vec<_> = names.into_iter().map(|name| self.enqueue(Expire { name })).collect();
        for reply in replies {
            reply.wait().await??;
        }
        Ok(())
    }

    /// Evicts idle streams, except those whose last use is yet to be stored.
    fn evict_idle(&self) {
        for stream in self.shared.cache.evict_idle(self.shared.clock.millis()) {
            self.send(Touch { stream });
        }
    }

    /// Checks one page of streams. Returns the name of its last, unless it was the last page.
    async fn apply_rule(
        &self,
        rules: &Arc<[RetentionRule]>,
        prefix: &Arc<str>,
        after: Option<StreamName>,
    ) -> Result<Option<StreamName>, Unavailable> {
        let (storage, prefix) = (Arc::clone(&self.shared.storage), Arc::clone(prefix));
        let page = self
            .blocking(move || storage.list(&prefix, after.as_ref().map(StreamName::key), PAGE))
            .await??;
        let last = page.last().map(|(name, _)| name.clone()).filter(|_| page.len() == PAGE);
        let now = self.shared.clock.millis();
        let affected = page.into_iter().filter(|(name, stored)| {
            policy(&stored.record, rules, name).is_some_and(|policy| needs_policy(policy, stored, now))
        });
        self.expire(affected.map(|(name, _)| name)).await?;
        Ok(last)
    }
}
