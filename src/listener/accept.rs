//! Accepts connections, and rejects those that are not allowed or too many.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{Either, select};
use ipnet::IpNet;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    bind::Listener,
    connection::{self, service::ConnectionService, state::ConnectionState, write_timeout::WriteTimeout},
    connection_limit::LimitReached,
    http_service::HttpService,
    peer::{ListenerKind, PeerAddr, canonical, contains},
    refusal::raw_refusal,
    shared::Shared,
    tls::context::TlsContext,
};
use crate::problems;

/// Pause after `accept` has failed for want of descriptors or memory: it would fail again at once.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How long a rejected peer may take to send its first byte.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);

/// Which peers a listener accepts, and how it serves them.
#[derive(Debug)]
pub(super) struct AcceptPolicy {
    kind: ListenerKind,
    /// `None` allows every peer.
    allowed_ips: Option<Vec<IpNet>>,
    /// `None` serves plain HTTP/1.1.
    tls: Option<TlsContext>,
}

impl AcceptPolicy {
    pub(super) fn public() -> Self {
        Self {
            kind: ListenerKind::Public,
            allowed_ips: None,
            tls: None,
        }
    }

    pub(super) fn tls(context: TlsContext) -> Self {
        Self {
            tls: Some(context),
            ..Self::public()
        }
    }

    pub(super) fn internal(allowed_ips: Vec<IpNet>) -> Self {
        Self {
            kind: ListenerKind::Internal,
            allowed_ips: Some(allowed_ips),
            tls: None,
        }
    }

    fn allows(&self, peer: SocketAddr) -> bool {
        let allowed = self.allowed_ips.as_ref();
        allowed.is_none_or(|nets| contains(nets, peer.ip()))
    }
}

/// Accepts connections until the server stops; each runs in a task of its own. Those that clients
/// have opened by then are still served, because closing the socket would reset them.
pub(super) async fn accept_connections<S: HttpService>(
    listener: Listener,
    policy: AcceptPolicy,
    app: S,
    shared: Arc<Shared>,
) {
    let mut stop = pin!(shared.stop.token().cancelled());
    loop {
        let accepted = match select(pin!(listener.socket.accept()), stop.as_mut()).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => break,
        };
        match accepted {
            Ok((socket, peer)) => start_connection(socket, canonical(peer), &policy, &app, &shared),
            Err(error) => recover(&error, &listener, &shared).await,
        }
    }
    for (socket, peer) in listener.into_backlog() {
        start_connection(socket, canonical(peer), &policy, &app, &shared);
    }
}

fn start_connection<S: HttpService>(
    socket: TcpStream,
    peer: SocketAddr,
    policy: &AcceptPolicy,
    app: &S,
    shared: &Arc<Shared>,
) {
    if !policy.allows(peer) {
        return reject_unlisted(socket, peer, shared);
    }
    let slot = match shared.connections.try_acquire(policy.kind, peer.ip()) {
        Ok(slot) => slot,
        Err(LimitReached::Server) => {
            // A response would need the resources that are short.
            shared.count_rejected("full");
            if let Some(suppressed) = shared.log_throttle.allow("max_connections") {
                tracing::warn!(%peer, suppressed, "limits.max_connections reached: connection closed");
            }
            return;
        }
        Err(LimitReached::Client) => return reject_excess(socket, peer, policy, shared),
    };
    let client = shared.connections.client(policy.kind, peer.ip());
    let state = Arc::new(ConnectionState::new(PeerAddr(peer), shared.responses.of_client(client)));
    let io = WriteTimeout::new(socket, shared.timeouts.write_timeout(), Arc::clone(&state));
    let service = ConnectionService::new(app.clone(), policy.kind, state);
    let guard = (slot, shared.count_open());
    connection::spawn(io, policy.tls.clone(), service, shared, guard);
}

fn reject_unlisted(socket: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    shared.count_rejected("peer");
    if let Some(suppressed) = shared.log_throttle.allow("allowed_ips") {
        tracing::warn!(peer = %peer.ip(), suppressed, "connection rejected: not in internal.allowed_ips");
    }
    let detail = "this address is not in internal.allowed_ips";
    reject(socket, peer, shared, raw_refusal(&problems::PEER_NOT_ALLOWED, detail));
}

fn reject_excess(socket: TcpStream, peer: SocketAddr, policy: &AcceptPolicy, shared: &Arc<Shared>) {
    shared.count_rejected("address");
    if let Some(suppressed) = shared.log_throttle.allow("max_connections_per_address") {
        tracing::warn!(
            peer = %peer.ip(),
            suppressed,
            "connection rejected: limits.max_connections_per_address reached"
        );
    }
    // Over TLS a response would need a handshake, which costs more than a connection.
    if policy.tls.is_none() {
        let detail = "this address has too many open connections; close some or try again later";
        let response = raw_refusal(&problems::TOO_MANY_OWN_CONNECTIONS, detail);
        reject(socket, peer, shared, response);
    }
}

/// Sends a response without parsing the request.
fn reject(socket: TcpStream, peer: SocketAddr, shared: &Arc<Shared>, response: Vec<u8>) {
    let Some(permit) = shared.connections.try_acquire_rejection() else {
        return;
    };
    let state = Arc::new(ConnectionState::new(PeerAddr(peer), shared.responses.of_client(None)));
    let mut io = WriteTimeout::new(socket, shared.timeouts.write_timeout(), state);
    let task_shared = Arc::clone(shared);
    shared.tasks.spawn(async move {
        // Read the request first: some clients reject a response that arrives before it.
        let _ = timeout(FIRST_BYTE_TIMEOUT, io.read(&mut [0; 1024])).await;
        let send = async {
            io.write_all(&response).await?;
            io.shutdown().await
        };
        // A response that does not arrive concerns nobody else.
        let _ = select(pin!(send), pin!(task_shared.stop.token().cancelled())).await;
        drop(permit);
    });
}

async fn recover(error: &io::Error, listener: &Listener, shared: &Shared) {
    // The peer left before it was accepted.
    if matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    ) {
        return;
    }
    if let Some(suppressed) = shared.log_throttle.allow("accept") {
        tracing::error!(address = %listener.address(), %error, suppressed, "cannot accept connections; retrying");
    }
    sleep(ACCEPT_BACKOFF).await;
}
