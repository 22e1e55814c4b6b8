//! Keeps the keys of an [`Authenticator`] as its files are.

use std::sync::{Arc, Weak};

use super::{Authenticator, keys::KeyFiles};
use crate::file_watcher::{Contents, FileWatcher, ReadFiles, WatchedFiles};

impl Authenticator {
    /// Reloads changed key files for as long as it is polled; spawn it once.
    ///
    /// A file that cannot be used keeps its previous keys and is reported once; a key that is
    /// gone is withdrawn.
    pub async fn watch(self: Arc<Self>) {
        let period = (self.config.reload_secs > 0).then(|| self.config.reload_interval());
        let reload = Arc::clone(&self.reload);
        let watcher = KeyReloader::watcher(&self);
        // The watch must not keep the authenticator alive.
        drop(self);
        watcher.run(period, reload).await;
    }
}

/// Applies changed key files to an authenticator.
pub(super) struct KeyReloader(Weak<Authenticator>);

/// What changed key files led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The keys are the same, and so are the cached tokens.
    SameKeys,
    /// New keys, and an empty token cache.
    Replaced,
    /// The files cannot be used; the keys stay.
    Kept,
}

impl KeyReloader {
    pub(super) fn watcher(authenticator: &Arc<Authenticator>) -> FileWatcher<Self> {
        let in_use = authenticator.current.load().files.clone();
        FileWatcher::new(Self(Arc::downgrade(authenticator)), in_use)
    }
}

impl WatchedFiles for KeyReloader {
    type Contents = KeyFiles;
    type Change = Change;
    const NAME: &'static str = "the key files";

    fn reader(&self) -> Option<ReadFiles<KeyFiles>> {
        let path = self.0.upgrade()?.config.verify_key.clone();
        Some(Box::new(move || {
            KeyFiles::read(&path).map_err(|error| error.to_string())
        }))
    }

    fn apply(&mut self, contents: Contents<KeyFiles>) -> Change {
        let Some(authenticator) = self.0.upgrade() else {
            return Change::Kept;
        };
        let files = match contents {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!("the changed key files cannot be read; the old keys stay in force: {error}");
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
            tracing::warn!("some changed key files cannot be used; for them the old keys stay in force");
        }
        if keys.same_keys(&old.keys) {
            if complete {
                tracing::info!("the key files have changed; the keys are the same");
                return Change::SameKeys;
            }
            return Change::Kept;
        }
        let kids: Vec<_> = keys.keys().map(|key| key.kid().to_owned()).collect();
        authenticator.replace_keys(files, keys);
        if kids.is_empty() {
            tracing::error!(
                path = %authenticator.config.verify_key.display(),
                "auth.verify_key no longer holds a key: every token is refused until a key is added"
            );
        } else {
            tracing::info!(?kids, "the key files have changed; the new keys are in force");
        }
        Change::Replaced
    }
}

#[cfg(test)]
mod tests;
