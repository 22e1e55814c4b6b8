//! One connection, from its socket to the application.

use std::{pin::pin, sync::Arc};

use futures_util::future::{Either, select};
use tokio::{net::TcpStream, time::timeout};

mod cancellations;
mod drive;
mod framing;
pub(super) mod http1;
pub(super) mod http2;
mod idle_timeout;
pub(super) mod service;
pub(super) mod state;
pub(super) mod write_timeout;

use self::{
    http1::serve_http1, http2::serve_http2, idle_timeout::LAST_CALL, service::ConnectionService,
    write_timeout::WriteTimeout,
};
use super::{
    http_service::HttpService,
    shared::Shared,
    tls::{context::TlsContext, handshake::handshake},
};

/// Serves a connection in a task of its own. `guard` is dropped with the connection.
pub(super) fn spawn<S: HttpService>(
    io: WriteTimeout<TcpStream>,
    tls: Option<TlsContext>,
    service: ConnectionService<S>,
    shared: &Arc<Shared>,
    guard: impl Send + 'static,
) {
    let tasks = &shared.tasks;
    let shared = Arc::clone(shared);
    match tls {
        None => tasks.spawn(serve_http1(io, service, shared, guard)),
        Some(context) => tasks.spawn(async move {
            serve_tls(io, context, service, shared).await;
            drop(guard);
        }),
    };
}

/// Resolves when a connection without a request has to end because the server stops.
async fn last_call(shared: &Shared) {
    shared.stop.token().cancelled().await;
    // Either way it is over.
    let _ = timeout(LAST_CALL, shared.cut.token().cancelled()).await;
}

/// Completes the handshake and serves the protocol that it has negotiated.
async fn serve_tls<S: HttpService>(
    io: WriteTimeout<TcpStream>,
    context: TlsContext,
    mut service: ConnectionService<S>,
    shared: Arc<Shared>,
) {
    let peer = service.state.peer.0;
    // Boxed, because its memory would otherwise be reserved for the connection's whole life.
    let handshake = Box::pin(timeout(shared.timeouts.handshake_timeout(), handshake(io, &context)));
    let outcome = match select(handshake, pin!(last_call(&shared))).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => return,
    };
    let established = match outcome {
        Ok(Ok(Some(established))) => established,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            shared.count_rejected("tls");
            return tracing::debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            shared.count_rejected("tls");
            return tracing::debug!(%peer, "TLS handshake timed out");
        }
    };
    drop(context);
    service.tls = Some(established.info);
    if established.info.http2 {
        Box::pin(serve_http2(established.stream, service, shared)).await;
    } else {
        Box::pin(serve_http1(established.stream, service, shared, ())).await;
    }
}
