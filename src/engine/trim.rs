//! Trims staged streams by their retention.

use super::{
    cut, retention,
    transaction::{Slot, Transaction},
};
use crate::{protocol::RetentionPolicy, storage::Position};

fn policy(tx: &Transaction<'_>, slot: Slot) -> Option<RetentionPolicy> {
    let staged = tx.get(slot);
    retention::policy(&staged.record, &tx.context.config.retention, &staged.stream.name)
}

/// After an append that began at `start`: schedules a mark, and trims by size.
pub(super) fn appended(tx: &mut Transaction<'_>, slot: Slot, start: Position) {
    let Some(policy) = policy(tx, slot) else { return };
    if let Some(max_age) = retention::max_age(policy) {
        let known = tx.get(slot).record.retention.as_deref();
        if let Some(due_at) = retention::earlier_due(known, max_age, tx.context.now) {
            let staged = tx.get_mut(slot);
            staged.retention_mut().due_at = Some(due_at);
            staged.update_due();
        }
    }
    if let Some(max_bytes) = policy.max_bytes {
        trim_by_size(tx, slot, max_bytes, start);
    }
}

/// How many own bytes a stream keeps at most after an append of `len` bytes.
pub(super) fn kept_after(tx: &Transaction<'_>, slot: Slot, len: u64) -> u64 {
    let staged = tx.get(slot);
    let record = &staged.record;
    let kept = staged.tail.saturating_sub(record.start.max(record.earliest())) + len;
    match policy(tx, slot).and_then(|policy| policy.max_bytes) {
        // The excess is trimmed, except data appended by this batch.
        Some(max_bytes) => kept.min(max_bytes.max(staged.tail - staged.base() + len)),
        None => kept,
    }
}

/// Whether the stream's retention limits its size.
pub(super) fn limits_size(tx: &Transaction<'_>, slot: Slot) -> bool {
    policy(tx, slot).is_some_and(|policy| policy.max_bytes.is_some())
}

/// Trims a stream that is due by age, and by size in case the rules have changed since its last
/// append.
pub(super) fn sweep(tx: &mut Transaction<'_>, slot: Slot) {
    let now = tx.context.now;
    let policy = policy(tx, slot);
    let staged = tx.get(slot);
    let (tail, forks) = (staged.tail, staged.record.forks);
    if policy.is_none() && staged.record.retention.is_none() {
        return;
    }
    let before = staged.record.retention.as_deref().cloned().unwrap_or_default();
    let mut after = before.clone();
    let max_age = policy.and_then(retention::max_age);
    match max_age {
        Some(max_age) => {
            let has_new = retention::trim_by_age(&mut after, max_age, now, tail);
            let is_shared = tx.get(slot).lifetimes().are_shared();
            if is_shared && has_new {
                // Others may have appended more, which has no mark yet.
                retention::look_again(&mut after, max_age, now);
            } else if is_shared {
                // The next look is when a mark expires, so an append meanwhile would get no mark.
                tx.get_mut(slot).require_tail();
            }
        }
        None => {
            after.marks.clear();
            after.due_at = None;
        }
    }
    retention::release_unforked(&mut after, forks);
    if let Some(max_age) = max_age.filter(|_| after.earliest > before.earliest)
        && let Err(error) = tx.evict_unused_writers(slot, now.saturating_sub(max_age))
    {
        let name = &tx.get(slot).stream.name;
        tracing::warn!(%error, stream = %name, "could not evict unused producers; will retry");
    }
    if after != before {
        *tx.get_mut(slot).retention_mut() = after;
    }
    if let Some(max_bytes) = policy.and_then(|policy| policy.max_bytes) {
        trim_by_size(tx, slot, max_bytes, tail);
    }
}

/// Trims what is further than `max_bytes` from the tail, but nothing from `limit` on.
fn trim_by_size(tx: &mut Transaction<'_>, slot: Slot, max_bytes: u64, limit: Position) {
    let staged = tx.get(slot);
    let Some(wanted) = retention::size_cut(&staged.record, staged.tail, max_bytes) else {
        return;
    };
    // The appends of this batch cannot be read yet.
    let limit = limit.min(staged.base());
    let kind = staged.stream.content_type.kind();
    match cut::boundary(tx.context.storage, &staged.record, kind, wanted.min(limit), limit) {
        Ok(earliest) if earliest > staged.record.earliest() => {
            let staged = tx.get_mut(slot);
            let forks = staged.record.forks;
            retention::trim_below(staged.retention_mut(), earliest, forks);
        }
        Ok(_) => {}
        Err(error) => {
            let name = &staged.stream.name;
            tracing::warn!(%error, stream = %name, "size retention failed; will retry");
        }
    }
}
