//! What live reads have in common: they are counted, and they end with their token and
//! with the server.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use http::request::Parts;
use prometheus::IntGauge;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{App, Problem};
use crate::{
    auth::{Permit, Principal, Verified},
    clock,
    listener::{KeyedLimit, KeyedPermit, ListenerKind, contains, network},
    proxy::Origin,
};

/// A live read's place among those that may be open at once.
pub(super) struct Place {
    gauge: IntGauge,
    _permit: OwnedSemaphorePermit,
    _shares: (KeyedPermit, KeyedPermit),
    /// Keeps the address taken by which a token is counted.
    _token: Option<Arc<Verified>>,
}

/// The holder whose live reads are counted together.
#[derive(Debug, Hash)]
enum Holder<'a> {
    /// All tokens with the same `identity`.
    Identity(&'a str),
    /// One token, by the address of what it proves.
    Token(usize),
}

/// The shares in `limits.max_live_readers`.
pub(super) struct LiveShares {
    principals: Arc<KeyedLimit>,
    addresses: Arc<KeyedLimit>,
    /// Principals are counted by a hash that nobody outside can predict.
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

impl Place {
    /// Takes a place, if one is free and neither the principal nor the client's address has its
    /// share of them already.
    pub(super) fn take(app: &App, permit: &Permit, parts: &Parts, mode: &'static str) -> Result<Self, Problem> {
        let shares = if permit.principal().is_some_and(Principal::is_server) {
            (KeyedPermit::default(), KeyedPermit::default())
        } else {
            (principal_share(app, permit)?, address_share(app, parts)?)
        };
        let place = Arc::clone(app.live_readers()).try_acquire_owned();
        let place =
            place.map_err(|_| Problem::come_back("too-many-readers", "too many live reads are open; try again"))?;
        let gauge = app.metrics().live_readers(mode);
        gauge.inc();
        Ok(Self {
            gauge,
            _permit: place,
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
        let detail = "this token has its share of the live reads open; end some, or try again";
        Problem::too_many("too-many-own-readers", detail)
    })
}

fn address_share(app: &App, parts: &Parts) -> Result<KeyedPermit, Problem> {
    let Some(client) = client(app, parts) else {
        return Ok(KeyedPermit::default());
    };
    let share = app.live_shares().addresses.try_acquire(client);
    share.ok_or_else(|| {
        let detail = "this address has its share of the live reads open; end some, or try again";
        Problem::too_many("too-many-own-readers", detail)
    })
}

/// The network of a request's client; `None` where many clients have it.
pub(super) fn client(app: &App, parts: &Parts) -> Option<u64> {
    let client = parts.extensions.get::<Origin>().and_then(|origin| origin.client_ip);
    let is_internal = parts.extensions.get::<ListenerKind>() == Some(&ListenerKind::Internal);
    let client = client.filter(|ip| !is_internal && !contains(app.settings().proxy.trusted(), *ip));
    client.map(network)
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// When a live read has to end: after `longest`, or with its token.
pub(super) fn end(permit: &Permit, longest: Option<Duration>) -> Option<Instant> {
    let token_left = permit
        .expires_at()
        .map(|at| Duration::from_millis(at.saturating_mul(1000).saturating_sub(clock::now_millis())));
    let left = match (longest, token_left) {
        (Some(longest), Some(token)) => longest.min(token),
        (Some(left), None) | (None, Some(left)) => left,
        (None, None) => return None,
    };
    Instant::now().checked_add(left)
}

/// Ends when the key that verified the permit's token is withdrawn; never on an open server.
pub(super) fn key_withdrawn(permit: &Permit) -> WaitForCancellationFutureOwned {
    permit.key_withdrawn().cloned().unwrap_or_default().cancelled_owned()
}
