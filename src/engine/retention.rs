//! Giving up a stream's past: what is too old, and what is too much.
//!
//! The store keeps bytes and no times, so the age of bytes is known by marks: everything below
//! a mark's position was written by its moment. The sweeper sets one a sixteenth of the age
//! after an append, so a stream that nobody writes to costs nothing until its past is due, and
//! what is given up is older than the age by no more than that.
//!
//! Readers are told first (`earliest`); the store gives the bytes back when no fork reads them
//! any more (`given_up`).

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    Engine, RetentionRule, Shared, Unavailable, cut,
    request::Command,
    transaction::{Slot, Staged, Transaction},
};
use crate::{
    protocol::{Millis, RetentionPolicy, StreamName},
    storage::{Mark, Position, Retention, Stored, StreamRecord},
};

/// Into how many parts the age and the size are divided: one part more than that is kept at
/// times, so that not every append has to give something up.
const PARTS: u64 = 16;
const MIN_STEP: Millis = 1_000;
/// How long to rest when rules cannot be applied, because the disk is full or much waits.
const RETRY: Duration = Duration::from_secs(10);
/// How many streams are looked at together when rules are new.
const PAGE: usize = 256;

impl RetentionRule {
    fn matches(&self, name: &str) -> bool {
        let mut parts = self.streams.split('*');
        let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.split_once(part) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        true
    }

    /// What every name that matches begins with.
    fn prefix(&self) -> &str {
        self.streams.split('*').next().unwrap_or_default()
    }
}

/// What holds for a stream: what it was created with, else the first rule that matches.
pub(super) fn policy(record: &StreamRecord, rules: &[RetentionRule], name: &StreamName) -> Option<RetentionPolicy> {
    let own = record.retention.as_ref().and_then(|past| past.policy);
    own.or_else(|| {
        let rule = rules.iter().find(|rule| rule.matches(name.key()));
        rule.map(RetentionRule::policy)
    })
}

/// How long after an append a mark is set.
fn step(max_age: Millis) -> Millis {
    (max_age / PARTS).max(MIN_STEP)
}

fn millis(secs: u64) -> Millis {
    secs.saturating_mul(1000)
}

/// After an append that began at `before`: has a mark set in time, and gives up what is too much.
pub(super) fn appended(tx: &mut Transaction<'_>, slot: Slot, before: Position) {
    let staged = tx.get(slot);
    let Some(policy) = policy(&staged.record, &tx.context.config.retention, &staged.stream.name) else {
        return;
    };
    if let Some(max_age) = policy.max_age_secs.map(millis) {
        let soon = tx.context.now.saturating_add(step(max_age));
        let due_at = staged.record.retention.as_ref().and_then(|past| past.due_at);
        if due_at.is_none_or(|due_at| due_at > soon) {
            past_mut(tx.get_mut(slot)).due_at = Some(soon);
            super::expiry::write_due(tx.get_mut(slot));
        }
    }
    if let Some(max_bytes) = policy.max_bytes {
        limit_size(tx, slot, max_bytes, before);
    }
}

/// How many own bytes a stream keeps at most once `len` more were appended.
pub(super) fn kept_with(tx: &Transaction<'_>, slot: Slot, len: u64) -> u64 {
    let staged = tx.get(slot);
    let record = &staged.record;
    let kept = staged.tail.saturating_sub(record.start.max(record.earliest())) + len;
    let policy = policy(record, &tx.context.config.retention, &staged.stream.name);
    match policy.and_then(|policy| policy.max_bytes) {
        // What is too much goes, but not what the batch itself has appended.
        Some(max_bytes) => kept.min(max_bytes.max(staged.tail - staged.base() + len)),
        None => kept,
    }
}

/// Whether the stream's retention limits its size.
pub(super) fn limits_size(tx: &Transaction<'_>, slot: Slot) -> bool {
    let staged = tx.get(slot);
    let policy = policy(&staged.record, &tx.context.config.retention, &staged.stream.name);
    policy.is_some_and(|policy| policy.max_bytes.is_some())
}

/// When a stream is due: sets a mark, and gives up what is too old. Where the rules have changed
/// since the last append, also what is too much.
pub(super) fn sweep(tx: &mut Transaction<'_>, slot: Slot) {
    let now = tx.context.now;
    let staged = tx.get(slot);
    let policy = policy(&staged.record, &tx.context.config.retention, &staged.stream.name);
    let (tail, forks) = (staged.tail, staged.record.forks);
    if policy.is_none() && staged.record.retention.is_none() {
        return;
    }
    let before = staged.record.retention.as_deref().cloned().unwrap_or_default();
    let mut past = before.clone();
    let max_age = policy.and_then(|policy| policy.max_age_secs).map(millis);
    match max_age {
        Some(max_age) => age(&mut past, max_age, now, tail),
        None => {
            past.marks.clear();
            past.due_at = None;
        }
    }
    settle(&mut past, forks);
    if let Some(max_age) = max_age.filter(|_| past.earliest > before.earliest)
        && let Err(error) = tx.forget_unused_writers(slot, now.saturating_sub(max_age))
    {
        let name = &tx.get(slot).stream.name;
        tracing::warn!(%error, stream = %name, "unused producers could not be forgotten; trying again");
    }
    if past != before {
        *past_mut(tx.get_mut(slot)) = past;
    }
    if let Some(max_bytes) = policy.and_then(|policy| policy.max_bytes) {
        limit_size(tx, slot, max_bytes, tail);
    }
}

/// Sets a mark at the tail, and gives up what lies below marks that are too old.
fn age(past: &mut Retention, max_age: Millis, now: Millis, tail: Position) {
    // A clock that was ahead and was set right is not to keep anything for so much longer.
    past.marks.iter_mut().for_each(|mark| mark.at = mark.at.min(now));
    let expired = |mark: &Mark| mark.at.saturating_add(max_age) <= now;
    if let Some(mark) = past.marks.iter().rev().find(|mark| expired(mark)) {
        past.earliest = past.earliest.max(mark.position);
    }
    past.marks.retain(|mark| !expired(mark));
    let last = past.marks.last().copied();
    let mut mark_at = None;
    if tail > last.map_or(past.earliest, |last| last.position) {
        let soonest = last.map_or(now, |last| last.at.saturating_add(step(max_age)));
        if soonest <= now {
            let position = tail;
            past.marks.push(Mark { at: now, position });
        } else {
            mark_at = Some(soonest);
        }
    }
    let next = past.marks.first().map(|mark| mark.at.saturating_add(max_age));
    past.due_at = next.into_iter().chain(mark_at).min();
}

/// Gives up what is further from the tail than `max_bytes`, but never what begins at `last`.
fn limit_size(tx: &mut Transaction<'_>, slot: Slot, max_bytes: u64, last: Position) {
    let staged = tx.get(slot);
    if staged.tail - staged.record.earliest() <= max_bytes {
        return;
    }
    // What the batch itself has appended cannot be read yet.
    let limit = last.min(staged.base());
    let wanted = staged.tail.saturating_sub(max_bytes - max_bytes / PARTS).min(limit);
    let kind = staged.stream.content_type.kind();
    match cut::boundary(tx.context.storage, &staged.record, kind, wanted, limit) {
        Ok(earliest) if earliest > staged.record.earliest() => {
            let staged = tx.get_mut(slot);
            let forks = staged.record.forks;
            let past = past_mut(staged);
            past.earliest = earliest;
            past.marks.retain(|mark| mark.position > earliest);
            settle(past, forks);
        }
        Ok(_) => {}
        Err(error) => {
            let name = &staged.stream.name;
            tracing::warn!(%error, stream = %name, "what is too much could not be given up; trying again");
        }
    }
}

/// Lets the store give up what no fork reads.
pub(super) fn settle(past: &mut Retention, forks: u32) {
    if forks == 0 {
        past.given_up = past.earliest;
    }
}

fn past_mut(staged: &mut Staged) -> &mut Retention {
    staged.record_mut().retention.get_or_insert_default()
}

/// Has every stream looked at that a rule may be new to. Once, at the start, a page at a time.
pub(super) async fn apply_rules(engine: Weak<Shared>, rules: Arc<[RetentionRule]>) {
    for rule in rules.iter() {
        let (prefix, mut after): (Arc<str>, _) = (rule.prefix().into(), None);
        loop {
            let Some(shared) = engine.upgrade() else { return };
            match (Engine { shared }).apply_rule(&rules, &prefix, after.clone()).await {
                Ok(Some(last)) => after = Some(last),
                Ok(None) => break,
                Err(Unavailable::Stopping) => return,
                Err(error) => {
                    tracing::warn!(%error, rule = %rule.streams, "retention waits to be applied; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Whether a stream is to be looked at for the sake of a policy, and does not know of it yet.
fn is_new(policy: RetentionPolicy, stored: &Stored, now: Millis) -> bool {
    let size = stored.tail.saturating_sub(stored.record.earliest());
    let past = stored.record.retention.as_deref();
    let is_late = |max_age: Millis| {
        let mark = past.and_then(|past| past.marks.first());
        let latest = mark.map_or(now.saturating_add(step(max_age)), |mark| {
            mark.at.min(now).saturating_add(max_age)
        });
        past.and_then(|past| past.due_at).is_none_or(|due_at| due_at > latest)
    };
    let ages = size > 0 && policy.max_age_secs.map(millis).is_some_and(is_late);
    ages || policy.max_bytes.is_some_and(|max_bytes| size > max_bytes)
}

impl Engine {
    /// Looks at one page of streams. Returns the name of its last, unless it was the last page.
    async fn apply_rule(
        &self,
        rules: &Arc<[RetentionRule]>,
        prefix: &Arc<str>,
        after: Option<StreamName>,
    ) -> Result<Option<StreamName>, Unavailable> {
        let (storage, rules, prefix) = (Arc::clone(&self.shared.storage), Arc::clone(rules), Arc::clone(prefix));
        let listed = self
            .blocking(move || storage.list(&prefix, after.as_ref().map(StreamName::key), PAGE))
            .await??;
        let last = listed
            .last()
            .map(|(name, _)| name.clone())
            .filter(|_| listed.len() == PAGE);
        let now = self.shared.clock.millis();
        let news = listed.into_iter().filter(|(name, stored)| {
            policy(&stored.record, &rules, name).is_some_and(|policy| is_new(policy, stored, now))
        });
        let waiting: Vec<_> = news.map(|(name, _)| self.enqueue(Command::Expire { name })).collect();
        for outcome in waiting {
            Self::outcome(outcome).await?;
        }
        Ok(last)
    }

    /// The rules of the configuration.
    pub(super) fn start_retention(&self) {
        let rules = Arc::clone(&self.shared.retention);
        if !rules.is_empty() {
            tokio::spawn(apply_rules(Arc::downgrade(&self.shared), rules));
        }
    }
}

/// When a stream is due for its lifetime or for its past, whichever is sooner.
pub(super) fn due_at(record: &StreamRecord, deadline: Option<Millis>) -> Option<Millis> {
    let past = record.retention.as_ref().and_then(|past| past.due_at);
    deadline.into_iter().chain(past).min()
}

#[cfg(test)]
mod tests;
