//! Live reads in general: they are counted, and they end with their token and with the server.

use std::{future::pending, sync::Arc, time::Duration};

use http::request::Parts;
use prometheus::IntGauge;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{App, Problem, query::Live};
use crate::{
    auth::{Permit, Principal, Verified},
    clock::Clock,
    listener::{KeyedPermit, ListenerKind, contains, network},
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

impl LiveSlot {
    /// Takes a slot, if one is free and neither the principal nor the client's address has reached
    /// its share.
    pub(super) fn take(app: &App, permit: &Permit, parts: &Parts, mode: Live) -> Result<Self, Problem> {
        let shares = if permit.principal().is_some_and(Principal::is_server) {
            OwnShares::default()
        } else {
            OwnShares {
                _principal: app.live_shares().of_principal(permit)?,
                _address: app.live_shares().of_address(client(app, parts))?,
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

/// The network of a request's client; `None` where many clients share it.
pub(super) fn client(app: &App, parts: &Parts) -> Option<u64> {
    let client = parts.extensions.get::<Origin>().and_then(|origin| origin.client_ip);
    let is_internal = ListenerKind::of(&parts.extensions) == ListenerKind::Internal;
    let client = client.filter(|ip| !is_internal && !contains(app.settings().proxy.trusted(), *ip));
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
pub(super) async fn key_withdrawn(permit: &Permit) {
    match permit.key_withdrawn() {
        Some(withdrawn) => withdrawn.sent().await,
        None => pending().await,
    }
}
