use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ListenerKind;
use super::peer::contains;
use super::shares::{Share, Shares, network};

/// Kept free for the internal listener, so that a crowd on the public one cannot lock the app
/// servers out: a sixteenth of all, at most this many.
const MAX_RESERVE: usize = 256;

/// How many peers may be told at one moment that they are refused: a sixteenth of all, at most
/// this many. They count on their own: refused peers must not use up what the others need.
const MAX_REFUSALS: usize = 64;

/// The connections that may be open at one moment, both listeners together.
#[derive(Debug)]
pub(super) struct Connections {
    shared: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    addresses: Arc<Shares>,
    /// Peers that stand for many clients.
    proxies: Vec<IpNet>,
}

/// One connection's place.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

/// Why there is no place for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// All places are taken.
    Server,
    /// The peer has its share of them.
    Peer,
}

impl Connections {
    pub(super) fn new(max_connections: usize, per_address: usize) -> Self {
        let total = max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let reserve = (total / 16).min(MAX_RESERVE);
        Self {
            shared: Arc::new(Semaphore::new(total - reserve)),
            reserve: Arc::new(Semaphore::new(reserve)),
            refusals: Arc::new(Semaphore::new((total / 16).clamp(1, MAX_REFUSALS))),
            addresses: Shares::new(per_address),
            proxies: Vec::new(),
        }
    }

    /// Counts these peers as no single client.
    pub(super) fn exempt(&mut self, proxies: &[IpNet]) {
        self.proxies = proxies.to_vec();
    }

    /// A place for one connection.
    pub(super) fn take(&self, kind: ListenerKind, peer: IpAddr) -> Result<Place, Full> {
        let permit = |pool: &Arc<Semaphore>| Arc::clone(pool).try_acquire_owned().ok();
        let permit = match kind {
            ListenerKind::Public => permit(&self.shared),
            ListenerKind::Internal => permit(&self.reserve).or_else(|| permit(&self.shared)),
        };
        let permit = permit.ok_or(Full::Server)?;
        let share = match self.client(kind, peer) {
            Some(client) => self.addresses.take(client).ok_or(Full::Peer)?,
            None => Share::default(),
        };
        Ok(Place {
            _permit: permit,
            _share: share,
        })
    }

    /// The network of a peer that is one client; `None` for one that stands for many.
    pub(super) fn client(&self, kind: ListenerKind, peer: IpAddr) -> Option<u64> {
        let is_client = kind == ListenerKind::Public && !contains(&self.proxies, peer);
        is_client.then(|| network(peer))
    }

    /// A place for one answer to a peer that is refused.
    pub(super) fn take_refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusals).try_acquire_owned().ok()
    }
}
