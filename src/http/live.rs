//! Live reads in general: they are counted, and they end with their token and with the server.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use http::request::Parts;
use prometheus::IntGauge;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{App, Problem, query::Live};
use crate::{
    auth::{Permit, Principal, Verified},
    clock::Clock,
    listener::{KeyedLimit, KeyedPermit, ListenerKind, contains, network},
    problems,
    proxy::Origin,
};

/// One of the live reads that may be open at once.
pub(super) struct LiveSlot {
    gauge: IntGauge,
    _permit: OwnedSemaphorePermit,
    _shares: OwnShares,
    /// Keeps the allocation alive whose address identifies the token.
    _token: Option<Arc<Verified>>,
}

/// The shares that a live read of a client counts towards. App servers have none.
#[derive(Default)]
struct OwnShares {
    _principal: KeyedPermit,
    _address: KeyedPermit,
}

/// A holder whose live reads are counted together.
#[derive(Debug, Hash)]
enum Holder<'a> {
    /// All tokens with this `identity`.
    Identity(&'a str),
    /// One token, by the address of its cached verification.
    Token(usize),
}

/// Each principal's and each address's share of `limits.max_live_readers`.
pub(super) struct LiveShares {
    principals: Arc<KeyedLimit>,
    addresses: Arc<KeyedLimit>,
    /// Keyed, so that clients cannot choose identities that collide.
    hasher: RandomState,
}

impl LiveShares {
    pub(super) fn new(per_principal: usize, per_address: usize) -> Self {
        Self {
            principals: KeyedLimit::new(per_principal),
            addresses: KeyedLimit::new(per_address),
            hasher: RandomState::new(),
        }
    }
}

impl LiveSlot {
    /// Takes a slot, if one is free and neither the principal nor the client's address has reached
    /// its share.
    pub(super) fn take(app: &App, permit: &Permit, parts: &Parts, mode: Live) -> Result<Self, Problem> {
        let shares = if permit.principal().is_some_and(Principal::is_server) {
            OwnShares::default()
        } else {
            OwnShares {
                _principal: principal_share(app, permit)?,
                _address: address_share(app, parts)?,
            }
        };
        let slot = Arc::clone(app.live_readers()).try_acquire_owned();
        let slot =
            slot.map_err(|_| Problem::new(&problems::TOO_MANY_READERS, "too many live reads are open; try again"))?;
        let gauge = app.metrics().live_readers(mode.name());
        gauge.inc();
        Ok(Self {
            gauge,
            _permit: slot,
            _shares: shares,
            _token: permit.holder().cloned(),
        })
    }
}

fn principal_share(app: &App, permit: &Permit) -> Result<KeyedPermit, Problem> {
    let holder = match (permit.identity(), permit.holder()) {
        (Some(identity), _) => Holder::Identity(identity),
        (None, Some(token)) => Holder::Token(Arc::as_ptr(token).addr()),
        (None, None) => return Ok(KeyedPermit::default()),
    };
    let shares = app.live_shares();
    let share = shares.principals.try_acquire(shares.hasher.hash_one(holder));
    share.ok_or_else(|| {
        let detail = "this token has reached its share of the live reads; end some, or try again";
        Problem::new(&problems::TOO_MANY_OWN_READERS, detail)
    })
}

fn address_share(app: &App, parts: &Parts) -> Result<KeyedPermit, Problem> {
    let Some(client) = client(app, parts) else {
        return Ok(KeyedPermit::default());
    };
    let share = app.live_shares().addresses.try_acquire(client);
    share.ok_or_else(|| {
        let detail = "this address has reached its share of the live reads; end some, or try again";
        Problem::new(&problems::TOO_MANY_OWN_READERS, detail)
    })
}

/// The network of a request's client; `None` where many clients share it.
pub(super) fn client(app: &App, parts: &Parts) -> Option<u64> {
    let client = parts.extensions.get::<Origin>().and_then(|origin| origin.client_ip);
    let is_internal = parts.extensions.get::<ListenerKind>() == Some(&ListenerKind::Internal);
    let client = client.filter(|ip| !is_internal && !contains(&app.settings().proxies, *ip));
    client.map(network)
}

impl Drop for LiveSlot {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// When a live read has to end: after `max`, or when its token expires.
pub(super) fn end(permit: &Permit, clock: &Clock, max: Option<Duration>) -> Option<Instant> {
    let expires_in = permit.expires_at().map(|at| {
        let millis = at.saturating_mul(1000).saturating_sub(clock.millis());
        Duration::from_millis(millis)
    });
    let left = max.into_iter().chain(expires_in).min()?;
    Instant::now().checked_add(left)
}

/// Resolves when the key that verified the permit's token is withdrawn; never without a token.
pub(super) fn key_withdrawn(permit: &Permit) -> WaitForCancellationFutureOwned {
    permit.key_withdrawn().cloned().unwrap_or_default().cancelled_owned()
}
