//! The maintenance of a store with one holder, on a thread of its own, so that no commit waits for it.
//! The upkeep of a shared store is in `upkeep.rs`.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};

use crate::{clock::Clock, storage::Storage};

/// The longest that changes wait for maintenance that is not due.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// The wait after a maintenance that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The wait while nothing changes. Nothing signals the end of a backup, which holds maintenance up.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);

/// The signals that the maintenance thread waits for.
#[derive(Default)]
pub(super) struct Maintenance {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// There were commits since the last maintenance.
    changed: bool,
    /// Maintenance should begin at once.
    due: bool,
    stopping: bool,
}

impl Maintenance {
    /// Notes that changes were committed.
    pub(super) fn note_changes(&self, is_due: bool) {
        let mut state = self.state.lock();
        let is_news = !state.changed || (is_due && !state.due);
        state.changed = true;
        state.due |= is_due;
        if is_news {
            drop(state);
            self.news.notify_one();
        }
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopping = true;
        self.news.notify_one();
    }

    /// Maintains the store until stopped. If that panics, `on_panic` is called.
    pub(super) fn run(&self, storage: &Arc<dyn Storage>, clock: &Clock, on_panic: impl Fn()) {
        let _end = End(on_panic);
        // The changes of a non-blocking store are not noted.
        let idle_interval = if storage.blocking() { IDLE_INTERVAL } else { MAX_DELAY };
        let mut max_wait = Duration::ZERO;
        while self.wait(max_wait) {
            let started = clock.instant();
            max_wait = match storage.maintain() {
                // Commits get at least half of the disk's time, unless they depend on maintenance.
                Ok(true) => clock.instant().saturating_duration_since(started),
                Ok(false) => idle_interval,
                Err(error) => {
                    tracing::warn!(%error, "store maintenance failed; will retry");
                    RETRY_INTERVAL
                }
            };
        }
    }

    /// Waits until maintenance is due, or for `max_wait`, or not as long if there are changes.
    /// Returns whether to go on.
    fn wait(&self, max_wait: Duration) -> bool {
        let mut state = self.state.lock();
        let idle = |state: &mut State| !(state.changed || state.due || state.stopping);
        if max_wait > Duration::ZERO {
            self.news.wait_while_for(&mut state, idle, max_wait);
            let pending = |state: &mut State| !(state.due || state.stopping);
            if state.changed {
                self.news.wait_while_for(&mut state, pending, max_wait.min(MAX_DELAY));
            }
        }
        (state.changed, state.due) = (false, false);
        !state.stopping
    }
}

/// A store that cannot be maintained must not be written to: it would grow without bound.
struct End<F: Fn()>(F);

impl<F: Fn()> Drop for End<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the maintenance of the store panicked: writes are disabled until restart");
            (self.0)();
        }
    }
}
