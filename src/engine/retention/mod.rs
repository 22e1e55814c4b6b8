//! Retention, as functions of a stream's record: which data is too old, and which is too much.
//!
//! The store keeps bytes without times, so their age is known from marks: everything below a mark's
//! position was written before its moment. The sweeper sets a mark a sixteenth of the maximum age
//! after an append. An idle stream therefore costs nothing until its data is due, and trimmed data
//! is older than the maximum age by no more than that.
//!
//! `earliest` is where readers may begin; the store frees data below `given_up`, which follows once
//! no fork reads it.

use super::limits::RetentionRule;
use crate::{
    protocol::{Millis, RetentionPolicy, StreamName},
    storage::{Mark, Position, Retention, Stored, StreamRecord},
};

/// Trim in steps of this part of the limit, so that most appends trim nothing.
const PARTS: u64 = 16;
const MIN_MARK_INTERVAL: Millis = 1_000;

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
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        true
    }

    /// The common prefix of all matching names.
    pub(super) fn prefix(&self) -> &str {
        self.streams.split('*').next().unwrap_or_default()
    }
}

/// The policy of a stream: its own, or that of the first matching rule.
pub(super) fn policy(record: &StreamRecord, rules: &[RetentionRule], name: &StreamName) -> Option<RetentionPolicy> {
    let own = record.retention.as_ref().and_then(|retention| retention.policy);
    own.or_else(|| {
        if name.is_internal() {
            return None;
        }
        let rule = rules.iter().find(|rule| rule.matches(name.key()));
        rule.map(RetentionRule::policy)
    })
}

/// The maximum age of a policy, in milliseconds.
pub(super) fn max_age(policy: RetentionPolicy) -> Option<Millis> {
    policy.max_age_secs.map(|secs| secs.saturating_mul(1000))
}

/// How long after an append a mark is set.
fn mark_interval(max_age: Millis) -> Millis {
    (max_age / PARTS).max(MIN_MARK_INTERVAL)
}

/// When to look at a stream that has just been appended to; `None` if it is due sooner anyway.
pub(super) fn earlier_due(retention: Option<&Retention>, max_age: Millis, now: Millis) -> Option<Millis> {
    let soon = now.saturating_add(mark_interval(max_age));
    let due_at = retention.and_then(|retention| retention.due_at);
    due_at.is_none_or(|due_at| due_at > soon).then_some(soon)
}

/// Trims what lies below marks that are too old, and sets a mark at the tail. Returns whether there was content without
/// a mark.
pub(super) fn trim_by_age(retention: &mut Retention, max_age: Millis, now: Millis, tail: Position) -> bool {
    // If the clock went backwards, clamp marks so that data is not kept too long.
    retention.marks.iter_mut().for_each(|mark| mark.at = mark.at.min(now));
    let expired = |mark: &Mark| mark.at.saturating_add(max_age) <= now;
    if let Some(mark) = retention.marks.iter().rev().find(|mark| expired(mark)) {
        retention.earliest = retention.earliest.max(mark.position);
    }
    retention.marks.retain(|mark| !expired(mark));
    let last = retention.marks.last().copied();
    let mut mark_at = None;
    let has_new = tail > last.map_or(retention.earliest, |last| last.position);
    if has_new {
        let soonest = last.map_or(now, |last| last.at.saturating_add(mark_interval(max_age)));
        if soonest <= now {
            let position = tail;
            retention.marks.push(Mark { at: now, position });
        } else {
            mark_at = Some(soonest);
        }
    }
    let next = retention.marks.first().map(|mark| mark.at.saturating_add(max_age));
    retention.due_at = next.into_iter().chain(mark_at).min();
    has_new
}

/// Schedules a look for content without a mark.
pub(super) fn look_again(retention: &mut Retention, max_age: Millis, now: Millis) {
    if let Some(due_at) = earlier_due(Some(retention), max_age, now) {
        retention.due_at = Some(due_at);
    }
}

/// Where a stream larger than `max_bytes` should begin; `None` if it is not.
pub(super) fn size_cut(record: &StreamRecord, tail: Position, max_bytes: u64) -> Option<Position> {
    let size = tail.saturating_sub(record.earliest());
    (size > max_bytes).then(|| tail.saturating_sub(max_bytes - max_bytes / PARTS))
}

/// Trims everything below `earliest`.
pub(super) fn trim_below(retention: &mut Retention, earliest: Position, forks: u32) {
    retention.earliest = earliest;
    retention.marks.retain(|mark| mark.position > earliest);
    release_unforked(retention, forks);
}

/// Lets the store free trimmed data that no fork reads.
pub(super) fn release_unforked(retention: &mut Retention, forks: u32) {
    if forks == 0 {
        retention.given_up = retention.earliest;
    }
}

/// Whether a stream exceeds a policy that it has not been trimmed by yet.
pub(super) fn needs_policy(policy: RetentionPolicy, stored: &Stored, now: Millis) -> bool {
    let size = stored.tail.saturating_sub(stored.record.earliest());
    let retention = stored.record.retention.as_deref();
    let is_late = |max_age: Millis| {
        let mark = retention.and_then(|retention| retention.marks.first());
        let latest = mark.map_or(now.saturating_add(mark_interval(max_age)), |mark| {
            mark.at.min(now).saturating_add(max_age)
        });
        retention
            .and_then(|retention| retention.due_at)
            .is_none_or(|due_at| due_at > latest)
    };
    let by_age = size > 0 && max_age(policy).is_some_and(is_late);
    by_age || policy.max_bytes.is_some_and(|max_bytes| size > max_bytes)
}

#[cfg(test)]
mod tests;
