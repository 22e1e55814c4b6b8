//! Bounded memories of verified and of failed tokens.

use std::{
    hash::{Hash, Hasher, RandomState},
    sync::Arc,
};

use aws_lc_rs::digest;
use quick_cache::{
    Equivalent, UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};
use rustc_hash::FxBuildHasher;

use super::{principal::Verified, token::TokenError};

type Entries = Cache<Key<Box<str>>, Arc<Verified>, UnitWeighter, FxBuildHasher>;

/// A bounded cache of verified tokens, keyed by the whole token.
///
/// Only verified tokens are inserted, so a flood of bad ones evicts nothing, and the hash needs no
/// key: clients choose what is looked up, but not the signatures that are there.
pub(super) struct TokenCache {
    /// `None` for a size of 0.
    entries: Option<Entries>,
}

/// A token, compared as a whole and hashed by its end. That is a part of its signature, which is
/// as good as random in a token that verifies; the rest would only make the hash slower.
struct Key<T>(T);

/// Bytes of a token that are hashed.
const HASHED_BYTES: usize = 32;

impl<T: AsRef<str>> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let token = self.0.as_ref().as_bytes();
        token.last_chunk::<HASHED_BYTES>().map_or(token, |end| end).hash(state);
    }
}

impl PartialEq for Key<Box<str>> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key<Box<str>> {}

impl Equivalent<Key<Box<str>>> for Key<&str> {
    fn equivalent(&self, key: &Key<Box<str>>) -> bool {
        *self.0 == *key.0
    }
}

impl TokenCache {
    pub(super) fn new(size: usize) -> Self {
        let entries = (size > 0).then(|| {
            Cache::with(
                size,
                u64::try_from(size).unwrap_or(u64::MAX),
                UnitWeighter,
                FxBuildHasher,
                DefaultLifecycle::default(),
            )
        });
        Self { entries }
    }

    pub(super) fn get(&self, token: &str) -> Option<Arc<Verified>> {
        self.entries.as_ref()?.get(&Key(token))
    }

    pub(super) fn insert(&self, token: &str, verified: Arc<Verified>) {
        if let Some(entries) = &self.entries {
            entries.insert(Key(token.into()), verified);
        }
    }

    pub(super) fn remove(&self, token: &str) {
        if let Some(entries) = &self.entries {
            entries.remove(&Key(token));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, Cache::len)
    }
}

const MAX_FAILED: usize = 4096;

/// A bounded memory of tokens that can never verify with the keys of this generation, so that a
/// repeated one costs no signature check. Keyed by SHA-256, because a token may be 8 KiB long.
pub(super) struct FailedTokens(Cache<Digest, TokenError, UnitWeighter, RandomState>);

/// A token's SHA-256.
pub(super) type Digest = [u8; 32];

impl FailedTokens {
    pub(super) fn new() -> Self {
        Self(Cache::with(
            MAX_FAILED,
            MAX_FAILED as u64,
            UnitWeighter,
            RandomState::new(),
            DefaultLifecycle::default(),
        ))
    }

    pub(super) fn get(&self, token: &Digest) -> Option<TokenError> {
        self.0.get(token)
    }

    pub(super) fn insert(&self, token: Digest, error: TokenError) {
        self.0.insert(token, error);
    }
}

pub(super) fn digest_of(token: &str) -> Digest {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    let mut bytes = Digest::default();
    bytes.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

#[cfg(test)]
mod tests;
