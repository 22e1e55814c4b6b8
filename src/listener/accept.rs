use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::connection::serve_http1;
use super::guarded::Guarded;
use super::http2::serve_http2;
use super::metered::Meter;
use super::peer::{canonical, contains};
use super::places::Full;
use super::refusal::raw_refusal;
use super::server::Shared;
use super::service::Entry;
use super::state::ConnectionState;
use super::tls::handshake;
use super::{App, Listener, ListenerKind, PeerAddr, TlsContext};

/// Between two tries when the process or the machine has run out of descriptors or memory:
/// `accept` would fail again at once and spin.
const OUT_OF_RESOURCES: Duration = Duration::from_millis(100);

/// How long a peer that will be refused anyway may take to say something.
const FIRST_WORD: Duration = Duration::from_secs(5);

/// Who may come in, and by which door.
#[derive(Debug)]
pub(super) struct Gatehouse {
    kind: ListenerKind,
    /// `None`: everyone.
    allowed: Option<Vec<IpNet>>,
    /// `None`: plain HTTP/1.1.
    tls: Option<TlsContext>,
}

impl Gatehouse {
    pub(super) fn open() -> Self {
        Self {
            kind: ListenerKind::Public,
            allowed: None,
            tls: None,
        }
    }

    pub(super) fn tls(context: TlsContext) -> Self {
        Self {
            tls: Some(context),
            ..Self::open()
        }
    }

    pub(super) fn only(allowed: Vec<IpNet>) -> Self {
        Self {
            kind: ListenerKind::Internal,
            allowed: Some(allowed),
            tls: None,
        }
    }

    fn admits(&self, peer: SocketAddr) -> bool {
        self.allowed.as_ref().is_none_or(|nets| contains(nets, peer.ip()))
    }
}

/// Accepts connections until the server stops; each gets a task of its own.
pub(super) async fn accept_all<S: App>(listener: Listener, gatehouse: Gatehouse, app: S, shared: Arc<Shared>) {
    let mut stop = pin!(shared.stop.token().cancelled());
    loop {
        let accepted = match select(pin!(listener.socket.accept()), stop.as_mut()).await {
            Either::Left((accepted, _)) => accepted,
            Either::Right(_) => return,
        };
        match accepted {
            Ok((socket, peer)) => admit(socket, canonical(peer), &gatehouse, &app, &shared),
            Err(error) => recover(&error, &listener, &shared).await,
        }
    }
}

fn admit<S: App>(socket: TcpStream, peer: SocketAddr, gatehouse: &Gatehouse, app: &S, shared: &Arc<Shared>) {
    if !gatehouse.admits(peer) {
        return refuse_stranger(socket, peer, shared);
    }
    let place = match shared.connections.take(gatehouse.kind, peer.ip()) {
        Ok(place) => place,
        Err(Full::Server) => {
            // Closing is all that is affordable now; the client tries again later.
            shared.count_refused("full");
            if let Some(held_back) = shared.full.pass() {
                tracing::warn!(%peer, held_back, "limits.max_connections reached: connection closed");
            }
            return;
        }
        Err(Full::Peer) => return refuse_crowd(socket, peer, gatehouse, shared),
    };
    let open = shared.count_open();
    let responses = shared
        .responses
        .of(shared.connections.client(gatehouse.kind, peer.ip()));
    let state = Arc::new(ConnectionState::new(Arc::clone(&responses)));
    let io = Guarded::new(socket, shared.timeouts.write, Arc::clone(&state));
    let service = Entry {
        inner: app.clone(),
        peer: PeerAddr(peer),
        kind: gatehouse.kind,
        tls: None,
        state,
        meter: Meter { budget: responses },
    };
    let shared_by_all = Arc::clone(shared);
    match gatehouse.tls.clone() {
        None => {
            shared
                .tasks
                .spawn(serve_http1(io, service, shared_by_all, peer, (place, open)));
        }
        Some(context) => {
            shared.tasks.spawn(async move {
                serve_tls(io, context, service, shared_by_all, peer).await;
                drop((place, open));
            });
        }
    }
}

/// Brings a handshake to its end and serves what was agreed on.
async fn serve_tls<S: App>(
    io: Guarded<TcpStream>,
    context: TlsContext,
    mut service: Entry<S>,
    shared: Arc<Shared>,
    peer: SocketAddr,
) {
    // Boxed: what the handshake needs would otherwise be reserved as long as the connection lives.
    let handshake = Box::pin(timeout(shared.timeouts.handshake, handshake(io, &context)));
    let outcome = match select(handshake, pin!(shared.stop.token().cancelled())).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => return,
    };
    let secured = match outcome {
        Ok(Ok(Some(secured))) => secured,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            shared.count_refused("tls");
            return tracing::debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            shared.count_refused("tls");
            return tracing::debug!(%peer, "TLS handshake took too long");
        }
    };
    drop(context);
    service.tls = Some(secured.info);
    if secured.info.http2 {
        Box::pin(serve_http2(secured.stream, service, shared, peer)).await;
    } else {
        Box::pin(serve_http1(secured.stream, service, shared, peer, ())).await;
    }
}

/// Refuses a peer that is not on the allow-list.
fn refuse_stranger(socket: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) {
    shared.count_refused("peer");
    if let Some(held_back) = shared.refused.pass() {
        tracing::warn!(peer = %peer.ip(), held_back, "refused: not in internal.allowed_ips");
    }
    let detail = "this address is not in internal.allowed_ips";
    refuse(socket, shared, raw_refusal(&crate::problems::PEER_NOT_ALLOWED, detail));
}

/// Refuses a peer that has its share of the connections.
fn refuse_crowd(socket: TcpStream, peer: SocketAddr, gatehouse: &Gatehouse, shared: &Arc<Shared>) {
    shared.count_refused("address");
    if let Some(held_back) = shared.crowded.pass() {
        tracing::warn!(peer = %peer.ip(), held_back, "refused: limits.max_connections_per_address reached");
    }
    // There is no answer without a handshake, which would cost more than a connection does.
    if gatehouse.tls.is_none() {
        let detail = "this address has too many open connections; close some or try again later";
        let answer = raw_refusal(&crate::problems::TOO_MANY_OWN_CONNECTIONS, detail);
        refuse(socket, shared, answer);
    }
}

/// Sends an answer without parsing what it answers.
fn refuse(socket: TcpStream, shared: &Arc<Shared>, answer: Vec<u8>) {
    let Some(place) = shared.connections.take_refusal() else {
        return;
    };
    let state = Arc::new(ConnectionState::new(shared.responses.of(None)));
    let mut io = Guarded::new(socket, shared.timeouts.write, state);
    let shared_by_all = Arc::clone(shared);
    shared.tasks.spawn(async move {
        // Clients mistrust an answer that comes before their request.
        let _ = timeout(FIRST_WORD, io.read(&mut [0; 1024])).await;
        let answer = async {
            io.write_all(&answer).await?;
            io.shutdown().await
        };
        // Nobody to tell if it does not get through.
        let _ = select(pin!(answer), pin!(shared_by_all.stop.token().cancelled())).await;
        drop(place);
    });
}

async fn recover(error: &io::Error, listener: &Listener, shared: &Shared) {
    // The peer gave up while it waited to be accepted: nothing to do with us.
    if matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    ) {
        return;
    }
    if let Some(held_back) = shared.accept_failed.pass() {
        tracing::error!(address = %listener.address(), %error, held_back, "cannot accept connections");
    }
    sleep(OUT_OF_RESOURCES).await;
}
