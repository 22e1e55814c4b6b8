//! Each principal's and each address's share of `limits.max_live_readers`.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::Problem;
use crate::{
    auth::Permit,
    listener::{KeyedLimit, KeyedPermit},
    problems,
};

pub(super) struct LiveShares {
    principals: Arc<KeyedLimit>,
    addresses: Arc<KeyedLimit>,
    /// Keyed, so that clients cannot choose identities that collide.
    hasher: RandomState,
}

/// A holder whose live reads are counted together.
#[derive(Debug, Hash)]
enum Holder<'a> {
    /// All tokens with this `identity`.
    Identity(&'a str),
    /// One token, by the address of its cached verification.
    Token(usize),
}

impl LiveShares {
    pub(super) fn new(per_principal: usize, per_address: usize) -> Self {
        Self {
            principals: KeyedLimit::new(per_principal),
            addresses: KeyedLimit::new(per_address),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn of_principal(&self, permit: &Permit) -> Result<KeyedPermit, Problem> {
        let holder = match (permit.identity(), permit.holder()) {
            (Some(identity), _) => Holder::Identity(identity),
            (None, Some(token)) => Holder::Token(Arc::as_ptr(token).addr()),
            (None, None) => return Ok(KeyedPermit::default()),
        };
        let share = self.principals.try_acquire(self.hasher.hash_one(holder));
        share.ok_or_else(|| {
            let detail = "this token has reached its share of the live reads; end some, or try again";
            Problem::new(&problems::TOO_MANY_OWN_READERS, detail)
        })
    }

    pub(super) fn of_address(&self, client: Option<u64>) -> Result<KeyedPermit, Problem> {
        let Some(client) = client else {
            return Ok(KeyedPermit::default());
        };
        let share = self.addresses.try_acquire(client);
        share.ok_or_else(|| {
            let detail = "this address has reached its share of the live reads; end some, or try again";
            Problem::new(&problems::TOO_MANY_OWN_READERS, detail)
        })
    }
}
