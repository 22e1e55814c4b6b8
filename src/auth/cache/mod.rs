//! Bounded memories of verified and of failed tokens.

use std::{hash::RandomState, sync::Arc};

use aws_lc_rs::digest;
use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use super::{principal::Verified, token::TokenError};

type Entries = Cache<Box<str>, Arc<Verified>, UnitWeighter, RandomState>;

/// A bounded cache of verified tokens, keyed by the whole token.
///
/// Clients choose the keys of lookups, so the hash is std's keyed SipHash. Only verified tokens
/// are inserted, so a flood of bad ones evicts nothing.
pub(super) struct TokenCache {
    /// `None` for a size of 0.
    entries: Option<Entries>,
}

impl TokenCache {
    pub(super) fn new(size: usize) -> Self {
        let entries = (size > 0).then(|| {
            Cache::with(
                size,
                u64::try_from(size).unwrap_or(u64::MAX),
                UnitWeighter,
                RandomState::new(),
                DefaultLifecycle::default(),
            )
        });
        Self { entries }
    }

    pub(super) fn get(&self, token: &str) -> Option<Arc<Verified>> {
        self.entries.as_ref()?.get(token)
    }

    pub(super) fn insert(&self, token: &str, verified: Arc<Verified>) {
        if let Some(entries) = &self.entries {
            entries.insert(token.into(), verified);
        }
    }

    pub(super) fn remove(&self, token: &str) {
        if let Some(entries) = &self.entries {
            entries.remove(token);
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
