use std::{hash::RandomState, sync::Arc};

use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use super::Verified;

type Entries = Cache<Box<str>, Arc<Verified>, UnitWeighter, RandomState>;

/// A bounded memory of verified tokens, keyed by the whole token.
///
/// The hash is std's keyed SipHash: lookups are made with whatever a client
/// sends, so nobody may be able to choose texts that collide. Only tokens that
/// were verified get in, so a flood of bad ones cannot push good ones out.
pub(super) struct TokenCache {
    /// `None` for a size of 0: nothing is remembered.
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

    pub(super) fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, Cache::len)
    }
}

#[cfg(test)]
mod tests;
