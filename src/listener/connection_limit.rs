//! How many connections may be open: in total, for each client, and reserved for app servers.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    keyed_limit::{KeyedLimit, KeyedPermit},
    peer::{ListenerKind, contains, network},
};

/// Connections that only the internal listener may use, so that public clients cannot lock the
/// app servers out: a sixteenth of all, at most this many.
const MAX_INTERNAL_RESERVE: usize = 256;

/// Rejections that may be in flight: a sixteenth of all connections, at most this many. They do
/// not count as connections, so that rejected peers take nothing from the others.
const MAX_REJECTIONS: usize = 64;

/// The limits of both listeners together.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    shared: Arc<Semaphore>,
    internal_reserve: Arc<Semaphore>,
    rejections: Arc<Semaphore>,
    per_client: Arc<KeyedLimit>,
    /// Each of these peers carries many clients and has no limit of its own.
    proxies: Vec<IpNet>,
}

/// Counts as one open connection until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    _permit: OwnedSemaphorePermit,
    _client_permit: KeyedPermit,
}

/// The limit that refuses a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitReached {
    Server,
    Client,
}

impl ConnectionLimit {
    pub(super) fn new(max_connections: usize, max_per_client: usize) -> Self {
        let total = max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let reserve = (total / 16).min(MAX_INTERNAL_RESERVE);
        Self {
            shared: Arc::new(Semaphore::new(total - reserve)),
            internal_reserve: Arc::new(Semaphore::new(reserve)),
            rejections: Arc::new(Semaphore::new((total / 16).clamp(1, MAX_REJECTIONS))),
            per_client: KeyedLimit::new(max_per_client),
            proxies: Vec::new(),
        }
    }

    pub(super) fn set_proxies(&mut self, proxies: &[IpNet]) {
        self.proxies = proxies.to_vec();
    }

    pub(super) fn try_acquire(&self, kind: ListenerKind, peer: IpAddr) -> Result<ConnectionSlot, LimitReached> {
        let permit = |pool: &Arc<Semaphore>| Arc::clone(pool).try_acquire_owned().ok();
        let permit = match kind {
            ListenerKind::Public => permit(&self.shared),
            ListenerKind::Internal => permit(&self.internal_reserve).or_else(|| permit(&self.shared)),
        };
        let permit = permit.ok_or(LimitReached::Server)?;
        let client_permit = match self.client(kind, peer) {
            Some(client) => self.per_client.try_acquire(client).ok_or(LimitReached::Client)?,
            None => KeyedPermit::default(),
        };
        Ok(ConnectionSlot {
            _permit: permit,
            _client_permit: client_permit,
        })
    }

    /// The key under which a peer is counted; `None` for proxies and app servers, which carry
    /// many clients.
    pub(super) fn client(&self, kind: ListenerKind, peer: IpAddr) -> Option<u64> {
        let is_client = kind == ListenerKind::Public && !contains(&self.proxies, peer);
        is_client.then(|| network(peer))
    }

    pub(super) fn try_acquire_rejection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.rejections).try_acquire_owned().ok()
    }
}
