//! Changes of subscriptions by other servers of the same store.
//!
//! Every decision reads its subscription afresh. This task has the index follow those that others
//! create, change and delete, which are announced. One server, which has the duty, also looks after
//! what others have begun: it arms their timers and marks their changed streams, a little later than
//! they do themselves.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, sleep},
};

use super::{
    Inner,
    dispatcher::Search,
    index::Id,
    live::{Live, Subscription},
};
use crate::{
    engine::{Unavailable, Watcher as _},
    protocol::{Millis, Offset, StreamName},
};

/// How often the server that has the duty looks after the work of the others, and the wait after the
/// store could not be read.
const OVERSIGHT_INTERVAL: Duration = Duration::from_secs(1);
/// How much later than the server that is to act on it another one acts on what is due.
pub(super) const OVERSIGHT_DELAY: Millis = 1000;
/// How often all subscriptions are compared with what is stored.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a wake may be missing whose server ended between an append and its mark.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);
/// Subscriptions that are read at a time.
pub(super) const CONCURRENT_READS: usize = 64;

/// The state of the task.
struct Follower {
    /// When all subscriptions were last compared; `None`: they have to be.
    reconciled_at: Option<Instant>,
    overseen_at: Instant,
    scanned_at: Instant,
}

/// Runs until stopped.
pub(super) async fn follow(inner: Arc<Inner>) {
    let stopped = inner.stopped.clone();
    tokio::select! {
        () = stopped.cancelled() => {}
        () = run(&inner) => {}
    }
}

async fn run(inner: &Arc<Inner>) {
    let mut loaded = inner.loaded.subscribe();
    if loaded.wait_for(|loaded| *loaded).await.is_err() {
        return;
    }
    let now = Instant::now();
    let mut follower = Follower {
        reconciled_at: None,
        overseen_at: now,
        scanned_at: now,
    };
    loop {
        if let Err(error) = inner.synchronize(&mut follower).await {
            if let Some(suppressed) = inner.failures.allow("sync") {
                tracing::warn!(%error, suppressed, "could not look for changes of subscriptions; will retry");
            }
            sleep(OVERSIGHT_INTERVAL).await;
        }
        tokio::select! {
            () = sleep(OVERSIGHT_INTERVAL) => {}
            () = inner.marks.has_news.notified() => {}
        }
    }
}

impl Inner {
    async fn synchronize(self: &Arc<Self>, follower: &mut Follower) -> Result<(), Unavailable> {
        let now = Instant::now();
        let is_past = |at: Instant, interval| now.saturating_duration_since(at) >= interval;
        let news = self.marks.take_news();
        if news.restored {
            self.distrust_all().await;
        }
        if news.missed || news.restored {
            follower.reconciled_at = None;
        }
        if follower.reconciled_at.is_none_or(|at| is_past(at, RECONCILE_INTERVAL)) {
            // Until it has succeeded.
            follower.reconciled_at = None;
            self.reconcile().await?;
            follower.reconciled_at = Some(now);
        } else if news.announced {
            // If this fails, all subscriptions are compared.
            let heard_at = follower.reconciled_at.take();
            self.catch_up().await?;
            follower.reconciled_at = heard_at;
        }
        if !self.known.read().is_empty() && is_past(follower.overseen_at, OVERSIGHT_INTERVAL) {
            follower.overseen_at = now;
            self.oversee(follower, now).await?;
        }
        Ok(())
    }

    /// Takes over what was announced.
    pub(super) async fn catch_up(&self) -> Result<(), Unavailable> {
        let unread = self.announcements.unread(&self.engine).await?;
        let Some(ids) = &unread.ids else {
            drop(unread);
            // If this fails, the task tries again.
            return self.reconcile().await.inspect_err(|_| self.marks.missed());
        };
        for some in ids.chunks(CONCURRENT_READS) {
            try_join_all(some.iter().map(|id| self.learn(id))).await?;
        }
        unread.done();
        let known = self.known.read().len();
        self.count_logs(known).await
    }

    /// Takes over a subscription that another server has created, changed or deleted.
    async fn learn(&self, id: &Id) -> Result<(), Unavailable> {
        let Ok((subscription, mut live)) = self.lock_known(id).await else {
            return Ok(());
        };
        let as_of = self.clock.millis();
        match self.refresh(&subscription, &mut live).await {
            Ok(true) => self.see_to(&subscription, live, as_of),
            Ok(false) => self.drop_deleted(&subscription, &mut live),
            // One that cannot be read must not keep the others from being delivered.
            Err(Unavailable::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn drop_deleted(&self, subscription: &Arc<Subscription>, live: &mut Live) {
        self.set_timer(subscription, None);
        self.forget(subscription, live);
    }

    /// Compares all subscriptions with what is stored.
    async fn reconcile(&self) -> Result<(), Unavailable> {
        let Ok(folder) = Subscription::folder() else {
            return Ok(());
        };
        if self.marks.oversees() {
            self.announcements.trim(&self.engine).await?;
        }
        // Before the subscriptions are read, so that none is missed in between.
        let announcements = self.announcements.begin(&self.engine).await?;
        self.marks.note_announcements(announcements);
        let (mut after, mut stored): (Option<StreamName>, BTreeSet<Id>) = (None, BTreeSet::new());
        loop {
            let page = self.engine.logs(&folder, after.as_ref()).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let page = page.into_iter().filter_map(|(log, tail)| {
                let id = Subscription::id_of(&log, &folder)?;
                Some((Id::from(id), tail))
            });
            let page: Vec<(Id, Offset)> = page.collect();
            for some in page.chunks(CONCURRENT_READS) {
                try_join_all(some.iter().map(|(id, tail)| self.learn_if_changed(id, *tail))).await?;
            }
            stored.extend(page.into_iter().map(|(id, _)| id));
        }
        self.drop_all_but(&stored).await?;
        self.count_logs(stored.len()).await
    }

    async fn learn_if_changed(&self, id: &Id, tail: Offset) -> Result<(), Unavailable> {
        if let Some(known) = self.get(id)
            && known.live.lock().await.is_at(tail)
        {
            return Ok(());
        }
        self.learn(id).await
    }

    /// Forgets subscriptions that other servers have deleted.
    async fn drop_all_but(&self, stored: &BTreeSet<Id>) -> Result<(), Unavailable> {
        let missing: Vec<_> = {
            let known = self.known.read();
            let missing = known.iter().filter(|(id, _)| !stored.contains(*id));
            missing.map(|(_, subscription)| Arc::clone(subscription)).collect()
        };
        for subscription in missing {
            let mut live = subscription.live.lock().await;
            // It may have been created since.
            if !self.refresh(&subscription, &mut live).await? {
                self.drop_deleted(&subscription, &mut live);
            }
        }
        Ok(())
    }

    /// Has every subscription read again, because the store may have another history.
    async fn distrust_all(&self) {
        for subscription in self.all() {
            subscription.live.lock().await.distrust();
        }
    }

    /// Looks after what other servers have begun, if this one has the duty.
    async fn oversee(self: &Arc<Self>, follower: &mut Follower, now: Instant) -> Result<(), Unavailable> {
        let (had, has) = (self.marks.oversees(), self.engine.looks_for_lost_wakes().await?);
        self.marks.set_oversees(has);
        if !has {
            self.overseen.lock().clear();
            return Ok(());
        }
        if !had || now.saturating_duration_since(follower.scanned_at) >= SCAN_INTERVAL {
            follower.scanned_at = now;
            self.want_scan();
        }
        if !had {
            self.search(Search::DeletedStreams);
        }
        let changed = std::mem::take(&mut *self.overseen.lock());
        let changed: Vec<Id> = match had {
            true => changed.into_iter().collect(),
            // The server that had the duty may have ended.
            false => self.known.read().keys().cloned().collect(),
        };
        for some in changed.chunks(CONCURRENT_READS) {
            if let Err(error) = try_join_all(some.iter().map(|id| self.look_after(id))).await {
                self.overseen.lock().extend(changed);
                return Err(error);
            }
        }
        self.mark_all(self.marks.take_changed_elsewhere());
        Ok(())
    }

    /// Sees to what is due for a subscription that another server has changed.
    async fn look_after(&self, id: &Id) -> Result<(), Unavailable> {
        let Some(subscription) = self.get(id) else {
            return Ok(());
        };
        let mut live = Arc::clone(&subscription.live).lock_owned().await;
        let as_of = self.clock.millis();
        match self.refresh(&subscription, &mut live).await {
            Ok(_) | Err(Unavailable::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        self.see_to(&subscription, live, as_of);
        Ok(())
    }

    /// Sees to what is due for a subscription, or will be. `as_of` is a moment before it was read.
    fn see_to(&self, subscription: &Subscription, live: OwnedMutexGuard<Live>, as_of: Millis) {
        self.arm(subscription, &live, as_of);
        let is_due = live.state().is_some_and(|state| state.is_overdue(as_of));
        drop(live);
        if subscription.has_pending() || (is_due && self.marks.oversees()) {
            self.schedule(subscription);
        }
    }
}
