//! What other servers of the same store have done to subscriptions. Every decision reads the log
//! afresh anyway; this tells of new subscriptions, and of wakes that this server must take over.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{Inner, index::Id, live::Subscription};
use crate::{
    engine::Unavailable,
    protocol::{Offset, StreamName},
};

/// How long another server's subscription may be unknown.
const SYNC_INTERVAL: Duration = Duration::from_secs(2);
/// How long a wake may be missing whose server ended between an append and its mark.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);

/// Runs until stopped.
pub(super) async fn follow(inner: Arc<Inner>) {
    let mut scanned_at = inner.clock.instant();
    loop {
        tokio::select! {
            () = sleep(SYNC_INTERVAL) => {}
            () = inner.stopped.cancelled() => return,
        }
        if let Err(error) = inner.synchronize(&mut scanned_at).await
            && let Some(suppressed) = inner.failures.allow("sync")
        {
            tracing::warn!(%error, suppressed, "could not look for changes of subscriptions; will retry");
        }
    }
}

impl Inner {
    async fn synchronize(&self, scanned_at: &mut Instant) -> Result<(), Unavailable> {
        let Ok(folder) = Subscription::folder() else {
            return Ok(());
        };
        let (mut after, mut stored): (Option<StreamName>, BTreeSet<Id>) = (None, BTreeSet::new());
        loop {
            let page = self.engine.logs(&folder, after.as_ref()).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (log, tail) in page {
                if let Some(id) = Subscription::id_of(&log, &folder) {
                    self.synchronize_one(&id, tail).await?;
                    stored.insert(id.into());
                }
            }
        }
        self.drop_all_but(&stored).await?;
        self.count_logs(stored.len()).await?;
        let now = self.clock.instant();
        if !stored.is_empty()
            && now.saturating_duration_since(*scanned_at) >= SCAN_INTERVAL
            && self.engine.looks_for_lost_wakes().await?
        {
            *scanned_at = now;
            self.want_scan();
        }
        Ok(())
    }

    async fn synchronize_one(&self, id: &str, tail: Offset) -> Result<(), Unavailable> {
        let Some(known) = self.get(&id.into()) else {
            let Ok(new) = Subscription::new(id) else { return Ok(()) };
            self.load_one(new).await?;
            // This server has not marked its appends until now.
            self.want_scan();
            return Ok(());
        };
        let mut live = known.live.lock().await;
        if live.is_at(tail) {
            return Ok(());
        }
        match self.refresh(&known, &mut live).await {
            Ok(_) | Err(Unavailable::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        self.arm(&known, &live);
        drop(live);
        self.schedule(&known);
        Ok(())
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
                self.set_timer(&subscription, None);
                self.forget(&subscription, &mut live);
            }
        }
        Ok(())
    }
}
