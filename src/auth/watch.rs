use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Authenticator, keys::KeyFiles};

/// How long changed files must hold still before they are read: most tools write a file in
/// several steps, and half a key is not worth a warning.
const SETTLE: Duration = Duration::from_millis(100);

impl Authenticator {
    /// Keeps the keys as the files are, for as long as it is polled; spawn it once.
    ///
    /// A file that cannot be used keeps the keys it had, and is reported once; a key that is
    /// gone is withdrawn.
    pub async fn watch(self: Arc<Self>) {
        let period = self.config.reload_interval();
        self.watch_every(period, SETTLE).await;
    }

    pub(super) async fn watch_every(self: Arc<Self>, period: Duration, settle: Duration) {
        let mut watcher = Watcher::new(&self);
        let reload = Arc::clone(&self.reload);
        // The keys are not kept alive by this task alone.
        drop(self);
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                () = reload.notified() => true,
            };
            let Some(mut now) = watcher.read().await else { return };
            if now == watcher.seen {
                if asked {
                    tracing::info!("the key files have not changed");
                }
                continue;
            }
            loop {
                sleep(settle).await;
                let Some(later) = watcher.read().await else { return };
                if later == now {
                    break;
                }
                now = later;
            }
            watcher.apply(now);
        }
    }
}

/// What a look at the files finds: their contents, or why they cannot be read.
type Look = Result<KeyFiles, String>;

pub(super) struct Watcher {
    authenticator: Weak<Authenticator>,
    /// What was last acted upon, so that one state of the files is reported once.
    seen: Look,
}

/// What [`Watcher::apply`] did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing is different.
    None,
    /// Other files, the same keys.
    SameKeys,
    /// New keys, and an empty memory of tokens.
    Replaced,
    /// The files cannot be used; the keys stay.
    Kept,
}

impl Watcher {
    pub(super) fn new(authenticator: &Arc<Authenticator>) -> Self {
        let seen = Ok(authenticator.current.load().files.clone());
        Self {
            authenticator: Arc::downgrade(authenticator),
            seen,
        }
    }

    /// Looks at the files, off the async workers; `None` when nobody needs them any longer.
    pub(super) async fn read(&self) -> Option<Look> {
        let path = self.authenticator.upgrade()?.config.verify_key.clone();
        Some(match tokio::task::spawn_blocking(move || KeyFiles::read(&path)).await {
            Ok(read) => read.map_err(|error| error.to_string()),
            Err(stopped) => Err(stopped.to_string()),
        })
    }

    pub(super) fn apply(&mut self, now: Look) -> Change {
        let Some(authenticator) = self.authenticator.upgrade() else {
            return Change::None;
        };
        if now == self.seen {
            return Change::None;
        }
        self.seen = now.clone();
        let files = match now {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!("the changed key files cannot be read, so the old keys stay in force: {error}");
                return Change::Kept;
            }
        };
        let old = authenticator.current.load_full();
        let keys = old.keys.renewed(&files);
        for note in keys.notes() {
            tracing::warn!("{note}");
        }
        let complete = keys.is_complete();
        if !complete {
            tracing::warn!("changed key files that cannot be used: the old keys stay in force for them");
        }
        if keys.same_keys(&old.keys) {
            if complete {
                tracing::info!("the key files changed; the keys are the same");
                return Change::SameKeys;
            }
            return Change::Kept;
        }
        let kids: Vec<_> = keys.keys().map(|key| key.kid().to_owned()).collect();
        authenticator.replace_keys(files, keys);
        if kids.is_empty() {
            tracing::error!(
                path = %authenticator.config.verify_key.display(),
                "auth.verify_key holds no key any longer: every token is refused until one is put there"
            );
        } else {
            tracing::info!(?kids, "the key files changed; the new keys are in force");
        }
        Change::Replaced
    }
}

#[cfg(test)]
mod tests;
