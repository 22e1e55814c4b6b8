//! Who is asking and what they may do: keys, token verification, rules.
//!
//! Nothing here knows of HTTP beyond the two places where a token may stand
//! ([`candidates`]).

mod cache;
mod candidates;
pub mod keys;
mod principal;
mod rules;
mod throttle;
pub mod token;
mod watch;

use std::{net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

pub use candidates::candidates;
pub use keys::{KeySet, KeysError};
pub use principal::{Principal, Verified, WriterDigest};
pub(crate) use rules::OpenServer;
pub use rules::{Denied, Permit, authorize, is_own};
pub use token::{Expectations, TokenError};

use crate::{clock, config::AuthConfig};
use cache::{FailedTokens, TokenCache, digest_of};
use keys::KeyFiles;
use throttle::{FailedChecks, Rate};
use token::Token;

/// Verifies tokens against the configured keys and remembers those that hold.
pub struct Authenticator {
    /// The keys and the memory that belongs to them, swapped as one.
    current: ArcSwap<Generation>,
    expectations: Expectations,
    path: PathBuf,
    cache_size: usize,
    reload_secs: u64,
    /// Asks the watch to look at the files at once.
    reload: Arc<Notify>,
    failures: Rate,
    failed_checks: FailedChecks,
}

/// Why no token of a request counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unverified {
    /// There is none.
    NoToken,
    /// The first one's fault.
    Bad(TokenError),
    /// The client's tokens failed too often: none that is not remembered is looked at for so long.
    Throttled(Duration),
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
    failed: FailedTokens,
}

impl Generation {
    fn new(files: KeyFiles, keys: KeySet, cache_size: usize) -> Self {
        Self {
            files,
            keys,
            cache: TokenCache::new(cache_size),
            failed: FailedTokens::new(),
        }
    }
}

impl Authenticator {
    /// Reads the keys. Call [`Authenticator::watch`] to have them kept up to date.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and what to do.
    pub fn load(config: &AuthConfig) -> Result<Arc<Self>, KeysError> {
        for (key, expected) in [("auth.issuer", &config.issuer), ("auth.audience", &config.audience)] {
            if expected.iter().any(|one| one.trim().is_empty()) {
                return Err(KeysError::EmptyExpectation { key });
            }
        }
        let files = KeyFiles::read(&config.verify_key)?;
        let keys = KeySet::parse(&files)?;
        for note in keys.notes() {
            tracing::warn!("{note}");
        }
        let failures = Rate {
            per_minute: config.max_failures_per_minute,
        };
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(Generation::new(files, keys, config.cache_size)),
            expectations: Expectations::from(config),
            path: config.verify_key.clone(),
            cache_size: config.cache_size,
            reload_secs: config.reload_secs,
            reload: Arc::default(),
            failures,
            failed_checks: FailedChecks::new(failures),
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
        self.verify_for(None, token, now).map_err(|error| match error {
            Unverified::Bad(error) => error,
            // Nobody is charged who is not named.
            Unverified::NoToken | Unverified::Throttled(_) => TokenError::Signature,
        })
    }

    /// Of several candidate tokens the first that verifies; else the first one's fault. A
    /// `client` whose tokens failed too often gets no further signature check for a while;
    /// tokens that are remembered count all the same.
    ///
    /// # Errors
    /// [`Unverified`]
    pub fn verify_first<T: AsRef<str>>(
        &self,
        tokens: &[T],
        client: Option<IpAddr>,
    ) -> Result<Arc<Verified>, Unverified> {
        let now = clock::now_secs();
        let mut fault = Unverified::NoToken;
        for token in tokens {
            match self.verify_for(client, token.as_ref(), now) {
                Ok(verified) => return Ok(verified),
                Err(error) if fault == Unverified::NoToken || matches!(error, Unverified::Throttled(_)) => {
                    fault = error;
                }
                Err(_) => {}
            }
        }
        Err(fault)
    }

    fn verify_for(&self, client: Option<IpAddr>, token: &str, now: u64) -> Result<Arc<Verified>, Unverified> {
        let current = self.current.load();
        if let Some(verified) = current.cache.get(token) {
            if now < verified.expires_at() {
                return Ok(verified);
            }
            current.cache.remove(token);
            current.failed.insert(digest_of(token), TokenError::Expired);
            return Err(Unverified::Bad(TokenError::Expired));
        }
        let parsed = Token::parse(token).map_err(Unverified::Bad)?;
        let digest = digest_of(token);
        if let Some(error) = current.failed.get(&digest) {
            return Err(Unverified::Bad(error));
        }
        let charge = self
            .failed_checks
            .charge(client, parsed.checks(&current.keys))
            .map_err(Unverified::Throttled)?;
        match token::verify(&parsed, &current.keys, &self.expectations, now) {
            Ok(verified) => {
                charge.give_back();
                let verified = Arc::new(verified.of_token(token));
                current.cache.insert(token, Arc::clone(&verified));
                Ok(verified)
            }
            Err(error) => {
                if error.is_final() {
                    current.failed.insert(digest, error.clone());
                }
                Err(Unverified::Bad(error))
            }
        }
    }

    /// Counts that `holder` was refused (403), or says how long it is to wait, because a client
    /// that repeats the same refused request at once would do so for ever.
    ///
    /// # Errors
    /// The time to wait.
    pub fn count_refusal(&self, holder: &Verified) -> Result<(), Duration> {
        holder.count_refusal(self.failures)
    }

    /// Whether no key is left, so that every token is refused.
    #[must_use]
    pub fn has_no_keys(&self) -> bool {
        self.current.load().keys.is_empty()
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

    /// Puts new keys in force first, and then ends the reads of withdrawn keys, so that a reader
    /// that reconnects is judged by the new keys.
    fn replace_keys(&self, files: KeyFiles, keys: KeySet) {
        let old = self.current.load_full();
        self.current
            .store(Arc::new(Generation::new(files, keys, self.cache_size)));
        old.keys.withdraw_all_but(&self.current.load().keys);
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
