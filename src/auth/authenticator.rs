//! Verifies tokens against the configured keys.

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::AuthConfig;
use super::{
    cache::{FailedTokens, TokenCache, digest_of},
    keys::{KeyFiles, KeySet, KeysError},
    principal::Verified,
    throttle::{FailedChecks, Rate},
    token::{Token, TokenError},
};
use crate::clock::Clock;

/// Verifies tokens against the configured keys and caches the results.
pub struct Authenticator {
    /// The keys and the results that they gave, swapped as one.
    pub(super) current: ArcSwap<Generation>,
    pub(super) config: AuthConfig,
    /// Makes the watch read the key files at once.
    pub(super) reload: Arc<Notify>,
    clock: Clock,
    rate: Rate,
    failed_checks: FailedChecks,
}

/// Why a request is not authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unverified {
    /// It has no token.
    NoToken,
    /// The fault of its first token.
    Bad(TokenError),
    /// Too many of the client's tokens failed. Only cached tokens are accepted for this long.
    Throttled(Duration),
}

/// One set of keys with the results of its verifications.
///
/// The cache lives with its keys, so results verified under old keys are dropped with them.
pub(super) struct Generation {
    pub(super) files: KeyFiles,
    pub(super) keys: KeySet,
    pub(super) cache: TokenCache,
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
    /// Reads the keys. Spawn [`Authenticator::watch`] to keep them up to date.
    ///
    /// # Errors
    /// [`KeysError`], which names the file and the remedy.
    pub fn load(config: &AuthConfig, clock: Clock) -> Result<Arc<Self>, KeysError> {
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
        let rate = Rate {
            per_minute: config.max_failures_per_minute,
        };
        Ok(Arc::new(Self {
            current: ArcSwap::from_pointee(Generation::new(files, keys, config.cache_size)),
            config: config.clone(),
            reload: Arc::default(),
            clock,
            rate,
            failed_checks: FailedChecks::new(rate),
        }))
    }

    /// Reads the key files at once instead of after `auth.reload_secs`.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// The first of several candidate tokens that verifies, or the fault of the first one. A
    /// `client` whose tokens failed too often gets no signature check for a while; its cached
    /// tokens are still accepted.
    ///
    /// # Errors
    /// [`Unverified`]
    pub fn verify_first<T: AsRef<str>>(
        &self,
        tokens: &[T],
        client: Option<IpAddr>,
    ) -> Result<Arc<Verified>, Unverified> {
        let mut fault = Unverified::NoToken;
        for token in tokens {
            match self.verify_for(client, token.as_ref()) {
                Ok(verified) => return Ok(verified),
                Err(error) if fault == Unverified::NoToken || matches!(error, Unverified::Throttled(_)) => {
                    fault = error;
                }
                Err(_) => {}
            }
        }
        Err(fault)
    }

    fn verify_for(&self, client: Option<IpAddr>, token: &str) -> Result<Arc<Verified>, Unverified> {
        let (current, now) = (self.current.load(), self.clock.secs());
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
            .charge(client, parsed.checks(&current.keys), self.clock.instant())
            .map_err(Unverified::Throttled)?;
        match parsed.verify(&current.keys, &self.config, now) {
            Ok(verified) => {
                charge.refund();
                let verified = Arc::new(verified.with_writer(token));
                current.cache.insert(token, Arc::clone(&verified));
                Ok(verified)
            }
            Err(error) => {
                if error.is_permanent() {
                    current.failed.insert(digest, error.clone());
                }
                Err(Unverified::Bad(error))
            }
        }
    }

    /// Counts a refusal (403) of `holder`. A client would otherwise repeat the same refused request
    /// for ever.
    ///
    /// # Errors
    /// The time to wait, after too many refusals.
    pub fn count_refusal(&self, holder: &Verified) -> Result<(), Duration> {
        holder.count_refusal(self.rate, self.clock.instant())
    }

    /// Whether no key is left, so that every token is refused.
    #[must_use]
    pub fn has_no_keys(&self) -> bool {
        self.current.load().keys.is_empty()
    }

    /// Passes the keys in force to `look`.
    pub(crate) fn with_keys<T>(&self, look: impl FnOnce(&KeySet) -> T) -> T {
        look(&self.current.load().keys)
    }

    /// Installs new keys first and then ends the reads of withdrawn ones, so that a reader that
    /// reconnects meets the new keys.
    pub(super) fn replace_keys(&self, files: KeyFiles, keys: KeySet) {
        let old = self.current.load_full();
        self.current
            .store(Arc::new(Generation::new(files, keys, self.config.cache_size)));
        old.keys.withdraw_all_but(&self.current.load().keys);
    }

    #[cfg(test)]
    pub(crate) fn verify(&self, token: &str) -> Result<Arc<Verified>, TokenError> {
        self.verify_for(None, token).map_err(|error| match error {
            Unverified::Bad(error) => error,
            other => panic!("{other:?} without a client"),
        })
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.current.load().cache.len()
    }
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
