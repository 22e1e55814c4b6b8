//! Passes marks on to subscriptions, and gives turns to those that have something to do. An idle
//! subscription costs nothing: there is one queue of timers, and no task for each.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::Ordering::{AcqRel, SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{Inner, index::Id, live::Subscription, state::millis};
use crate::{
    clock::Clock,
    engine::Unavailable,
    protocol::{Millis, StreamName},
};

/// The wait after the store could not be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait while there are timers: they are moments of a clock that may be set.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// A clock that is behind by more than this was set back.
const MAX_SLOWNESS: Duration = Duration::from_secs(1);

/// A search for work of which no mark tells, because marks are lost with their server.
#[derive(Clone, Copy)]
pub(super) enum Search {
    PendingStreams,
    /// Linked ones.
    DeletedStreams,
}

/// Runs until stopped.
pub(super) async fn dispatch(inner: Arc<Inner>) {
    let stopped = inner.stopped.clone();
    tokio::select! {
        () = stopped.cancelled() => {}
        () = run(&inner) => {}
    }
}

async fn run(inner: &Arc<Inner>) {
    match retried(inner, "load the subscriptions", || inner.load_all()).await {
        Some(true) => {
            inner.want_scan();
            inner.search(Search::DeletedStreams);
        }
        Some(false) => {}
        None => return,
    }
    inner.loaded.send_replace(true);
    let mut steps = ClockSteps::new(&inner.clock);
    loop {
        inner.pass_marks();
        inner.start_turns();
        if inner.scan_wanted.swap(false, AcqRel) {
            inner.search(Search::PendingStreams);
        }
        let all = steps.was_set_back(&inner.clock);
        let due = inner.start_due(all);
        tokio::select! {
            () = inner.marks.work.notified() => {}
            () = until(due) => {}
        }
    }
}

/// Tries until it succeeds; `None` once the engine has stopped.
pub(super) async fn retried<T, F: Future<Output = Result<T, Unavailable>>>(
    inner: &Inner,
    what: &str,
    attempt: impl Fn() -> F,
) -> Option<T> {
    loop {
        match attempt().await {
            Ok(value) => return Some(value),
            Err(Unavailable::Stopping) => return None,
            Err(error) => {
                if let Some(suppressed) = inner.failures.allow("dispatcher") {
                    tracing::warn!(%error, suppressed, "could not {what}; will retry");
                }
                sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

/// Compares the wall clock with time as it passes.
struct ClockSteps {
    millis: Millis,
    instant: Instant,
}

impl ClockSteps {
    fn new(clock: &Clock) -> Self {
        Self {
            millis: clock.millis(),
            instant: clock.instant(),
        }
    }

    /// Whether the clock was set back since the last call.
    fn was_set_back(&mut self, clock: &Clock) -> bool {
        let before = std::mem::replace(self, Self::new(clock));
        let passed = self.instant.saturating_duration_since(before.instant);
        let expected = before.millis.saturating_add(millis(passed));
        self.millis.saturating_add(millis(MAX_SLOWNESS)) < expected
    }
}

async fn until(due: Option<Duration>) {
    match due {
        Some(wait) => sleep(wait.min(MAX_WAIT)).await,
        None => pending().await,
    }
}

impl Inner {
    /// Has each changed stream noted by the subscriptions that it concerns.
    pub(super) fn pass_marks(&self) {
        let changed = self.marks.take();
        self.mark_all(changed.names);
        if changed.overflowed {
            self.want_scan();
        }
        for id in &changed.logs {
            // The wake on which its marked streams have waited may have ended.
            if let Some(subscription) = self.get(id)
                && subscription.has_pending()
            {
                self.schedule(&subscription);
            }
        }
        if self.marks.oversees() {
            self.overseen.lock().extend(changed.logs);
        }
    }

    /// Has each of these streams noted by the subscriptions that it concerns.
    pub(super) fn mark_all(&self, names: impl IntoIterator<Item = StreamName>) {
        let now = self.clock.millis();
        for name in names {
            for id in self.concerned(&name) {
                if let Some(subscription) = self.get(&id) {
                    subscription.mark(&name, now);
                    self.schedule(&subscription);
                }
            }
        }
    }

    /// The subscriptions that a stream concerns.
    pub(super) fn concerned(&self, name: &StreamName) -> Vec<Id> {
        let concerned = self.marks.concerned(name);
        if !concerned.is_complete {
            self.metrics.link_refused();
            if let Some(suppressed) = self.failures.allow("patterns") {
                tracing::error!(
                    stream = %name,
                    suppressed,
                    "the name of a stream fits the beginnings of too many patterns; subscriptions with such a \
                     pattern do not get its events unless it is linked by its name"
                );
            }
        }
        concerned.ids
    }

    /// Has all streams compared with the cursors.
    pub(super) fn want_scan(&self) {
        self.scan_wanted.store(true, SeqCst);
        self.marks.work.notify_one();
    }

    /// Looks through all streams or links in the background, until it succeeds.
    pub(super) fn search(self: &Arc<Self>, wanted: Search) {
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let attempt = || async {
                match wanted {
                    Search::PendingStreams => inner.scan().await,
                    Search::DeletedStreams => inner.mark_deleted().await,
                }
            };
            tokio::select! {
                () = inner.stopped.cancelled() => {}
                _ = retried(&inner, "look through the streams", attempt) => {}
            }
        });
    }

    /// Gives a subscription a turn soon.
    pub(super) fn schedule(&self, subscription: &Subscription) {
        if !subscription.is_scheduled.swap(true, SeqCst) {
            self.ready.lock().push_back(Arc::clone(&subscription.id));
            self.marks.work.notify_one();
        }
    }

    fn start_turns(self: &Arc<Self>) {
        let ready = std::mem::take(&mut *self.ready.lock());
        for id in ready {
            self.tasks.spawn(Arc::clone(self).turn(id));
        }
    }

    /// Gives turns to the subscriptions whose timers are due, or to all that have one. Returns the wait
    /// for the next one.
    fn start_due(&self, all: bool) -> Option<Duration> {
        let now = self.clock.millis();
        let (mut due, mut next) = (Vec::new(), None);
        let mut timers = self.timers.lock();
        while let Some((at, _)) = timers.first() {
            if *at > now && !all {
                next = Some(Duration::from_millis(at - now));
                break;
            }
            due.extend(timers.pop_first());
        }
        drop(timers);
        for (_, id) in due {
            if let Some(subscription) = self.get(&id) {
                *subscription.timer.lock() = None;
                self.schedule(&subscription);
            }
        }
        next
    }

    /// Replaces the timer of a subscription.
    pub(super) fn set_timer(&self, subscription: &Subscription, at: Option<Millis>) {
        let mut timer = subscription.timer.lock();
        if *timer == at {
            return;
        }
        let mut timers = self.timers.lock();
        if let Some(old) = timer.take() {
            timers.remove(&(old, Arc::clone(&subscription.id)));
        }
        if let Some(at) = at {
            timers.insert((at, Arc::clone(&subscription.id)));
        }
        *timer = at;
        drop(timers);
        self.marks.work.notify_one();
    }

    /// Has the streams of a subscription compared with its cursors, because marks are missing.
    pub(super) fn want_examined(&self, id: &Id) {
        self.unexamined.lock().insert(Arc::clone(id));
        self.examination_wanted.notify_one();
    }

    pub(super) fn all(&self) -> Vec<Arc<Subscription>> {
        self.known.read().values().cloned().collect()
    }

    pub(super) fn get(&self, id: &Id) -> Option<Arc<Subscription>> {
        self.known.read().get(id).map(Arc::clone)
    }

    /// A new id for a wake.
    pub(super) fn wake_id(&self) -> String {
        format!("w_{}{}", self.random.id(), self.random.id())
    }
}
