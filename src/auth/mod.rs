//! Who is asking and what they may do: keys, token verification, rules.
//!
//! The rules are those of DESIGN section 4. Nothing here knows of HTTP beyond
//! the two places where a token may stand ([`candidates`]).

mod cache;
mod candidates;
pub mod keys;
mod principal;
mod rules;
pub mod token;
mod watch;

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

pub use candidates::candidates;
pub use keys::{KeySet, KeysError};
pub use principal::{Principal, Verified};
pub(crate) use rules::OpenServer;
pub use rules::{Denied, Operation, Permit, authorize};
pub use token::{Expectations, TokenError};

use crate::{clock, config::AuthConfig};
use cache::TokenCache;
use keys::KeyFiles;

/// Verifies tokens against the configured keys and remembers those that hold.
pub struct Authenticator {
    /// The keys and the memory that belongs to them, swapped as one.
    current: ArcSwap<Generation>,
    expectations: Expectations,
    path: PathBuf,
    cache_size: usize,
    reload_secs: u64,
    /// Asks [`Authenticator::watch`] to look at the files at once.
    reload: Arc<Notify>,
}

/// One set of keys together with what was verified by it.
///
/// The memory belongs to the keys rather than beside them: a token that was
/// verified while the keys changed lands in the memory of the old ones, which
/// nobody asks again. Emptying a shared memory could not promise that.
struct Generation {
    files: KeyFiles,
    keys: KeySet,
    cache: TokenCache,
}

impl Authenticator {
    /// Reads the keys. Call [`Authenticator::watch`] to have them kept up to date.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do.
    pub fn load(config: &AuthConfig) -> Result<Arc<Self>, KeysError> {
        let files = KeyFiles::read(&config.verify_key)?;
        let keys = KeySet::parse(&files)?;
        for note in keys.notes() {
            tracing::warn!("{note}");
        }
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(Generation {
                files,
                keys,
                cache: TokenCache::new(config.cache_size),
            }),
            expectations: Expectations::from(config),
            path: config.verify_key.clone(),
            cache_size: config.cache_size,
            reload_secs: config.reload_secs,
            reload: Arc::default(),
        }))
    }

    /// Looks at the key files at once instead of after `auth.reload_secs`.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// What `token` proves, now.
    ///
    /// # Errors
    /// [`TokenError`], the reason that the client may read.
    pub fn verify(&self, token: &str) -> Result<Arc<Verified>, TokenError> {
        self.verify_at(token, clock::now_secs())
    }

    /// What `token` proves at `now` (seconds since the Unix epoch).
    ///
    /// # Errors
    /// [`TokenError`], the reason that the client may read.
    pub fn verify_at(&self, token: &str, now: u64) -> Result<Arc<Verified>, TokenError> {
        let current = self.current.load();
        if let Some(verified) = current.cache.get(token) {
            if now < verified.expires_at() {
                return Ok(verified);
            }
            current.cache.remove(token);
            return Err(TokenError::Expired);
        }
        let verified = Arc::new(token::verify(token, &current.keys, &self.expectations, now)?);
        current.cache.insert(token, Arc::clone(&verified));
        Ok(verified)
    }

    /// Of several candidate tokens the first that verifies; else the first one's error.
    ///
    /// # Errors
    /// `None` when there is no candidate at all.
    pub fn verify_first<T: AsRef<str>>(&self, tokens: &[T]) -> Result<Arc<Verified>, Option<TokenError>> {
        let mut first_error = None;
        for token in tokens {
            match self.verify(token.as_ref()) {
                Ok(verified) => return Ok(verified),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        Err(first_error)
    }

    /// How many tokens are remembered at the moment.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.current.load().cache.len()
    }

    /// Lets `look` see the keys in force.
    pub(crate) fn with_keys<T>(&self, look: impl FnOnce(&KeySet) -> T) -> T {
        look(&self.current.load().keys)
    }

    fn replace_keys(&self, files: KeyFiles, keys: KeySet) {
        self.current.store(Arc::new(Generation {
            files,
            keys,
            cache: TokenCache::new(self.cache_size),
        }));
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("path", &self.path)
            .field("expectations", &self.expectations)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
