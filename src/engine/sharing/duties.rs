//! Work that one server does for all.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    clock::Clock,
    storage::{DUTY_LEASE, Duty, SharedStore, StorageError},
};

/// How long an answer of the store counts. Much shorter than the lease, so that work which was begun
/// under it ends under it.
const ASK_INTERVAL: Duration = Duration::from_millis(DUTY_LEASE.as_millis() as u64 * 2 / 5);

pub(super) struct Duties {
    clock: Clock,
    asked: Mutex<HashMap<Duty, (Instant, bool)>>,
}

impl Duties {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            asked: Mutex::default(),
        }
    }

    pub(super) fn has(&self, store: &dyn SharedStore, duty: Duty) -> Result<bool, StorageError> {
        // Before the call, because the lease may begin at once.
        let now = self.clock.instant();
        if let Some((asked_at, has)) = self.asked.lock().get(&duty)
            && now.saturating_duration_since(*asked_at) < ASK_INTERVAL
        {
            return Ok(*has);
        }
        let has = store.take_duty(duty)?;
        self.asked.lock().insert(duty, (now, has));
        Ok(has)
    }
}
