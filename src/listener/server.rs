use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{Gatehouse, accept_all};
use super::drain::{Drained, Signal};
use super::places::Connections;
use super::responses::Budgets;
use super::throttle::Throttle;
use super::tls::watch;
use super::{App, Listener, TlsContext};
use crate::telemetry::Metrics;
use crate::{engine::LimitsConfig, listener::ConnectionConfig};

/// hyper accepts no smaller buffer.
const MIN_BUFFER: usize = 8 * 1024;

/// What a connection may buffer in each direction. Large enough that a body arrives in few
/// reads, small enough to be multiplied by all connections.
const BUFFER: usize = 64 * 1024;

/// Serves both listeners, counts their connections together and ends them together.
#[derive(Debug, Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

/// What all connections have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) http1: http1::Builder,
    pub(super) max_header_bytes: usize,
    pub(super) timeouts: ConnectionConfig,
    pub(super) connections: Connections,
    pub(super) responses: Budgets,
    pub(super) max_response_bytes_per_connection: u64,
    /// Take nothing new, finish what is under way.
    pub(super) stop: Signal,
    /// The time to finish is over.
    pub(super) cut: Signal,
    pub(super) tasks: TaskTracker,
    /// Has the TLS files looked at at once.
    reload: Arc<Notify>,
    pub(super) full: Throttle,
    pub(super) crowded: Throttle,
    pub(super) refused: Throttle,
    pub(super) accept_failed: Throttle,
    cut_count: AtomicUsize,
    metrics: Option<Arc<Metrics>>,
}

/// Counts as an open connection for as long as it exists.
pub(super) struct Open(Option<Arc<Metrics>>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(metrics) = &self.0 {
            metrics.connections().dec();
        }
    }
}

impl Shared {
    pub(super) fn count_cut(&self) {
        self.cut_count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_refused(&self, reason: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.refused_connection(reason);
        }
    }

    pub(super) fn count_open(&self) -> Open {
        if let Some(metrics) = &self.metrics {
            metrics.connections().inc();
        }
        Open(self.metrics.clone())
    }
}

impl Server {
    /// A server with nothing to serve yet.
    #[must_use]
    pub fn new(limits: &LimitsConfig, connection: &ConnectionConfig) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // `Watched` has the timeouts.
            .header_read_timeout(None)
            // Clients may end their side with their last request.
            .half_close(true)
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.max_header_bytes.max(BUFFER).max(MIN_BUFFER));
        Self {
            shared: Arc::new(Shared {
                http1,
                max_header_bytes: limits.max_header_bytes,
                timeouts: connection.clone(),
                connections: Connections::new(limits.max_connections, limits.connections_per_address()),
                responses: Budgets::new(
                    limits.max_response_bytes,
                    limits.response_bytes_per_address(),
                    connection.write_timeout(),
                ),
                max_response_bytes_per_connection: limits.max_response_bytes_per_connection,
                stop: Signal::default(),
                cut: Signal::default(),
                tasks: TaskTracker::new(),
                reload: Arc::default(),
                full: Throttle::default(),
                crowded: Throttle::default(),
                refused: Throttle::default(),
                accept_failed: Throttle::default(),
                cut_count: AtomicUsize::new(0),
                metrics: None,
            }),
        }
    }

    /// Counts connections there. Before it serves anything.
    #[must_use]
    pub fn counting(mut self, metrics: Arc<Metrics>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.metrics = Some(metrics);
        }
        self
    }

    /// Counts no connections of these peers against `limits.max_connections_per_address`: each
    /// stands for many clients. Before it serves anything.
    #[must_use]
    pub fn trusting(mut self, proxies: &[IpNet]) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.connections.exempt(proxies);
        }
        self
    }

    /// Starts to serve plain HTTP/1.1 for everyone.
    pub fn serve_public<S: App>(&self, listener: Listener, app: S) {
        self.serve(listener, app, Gatehouse::open());
    }

    /// Starts to serve HTTP/1.1 and HTTP/2 over TLS, whichever the client chooses of the
    /// context's ALPN names. The files behind `context` are looked at for changes as long as
    /// the server runs.
    pub fn serve_tls<S: App>(&self, listener: Listener, context: TlsContext, app: S) {
        let stop = self.stopping();
        let watched = context.clone();
        let reload = Arc::clone(&self.shared.reload);
        self.shared.tasks.spawn(async move {
            stop.run_until_cancelled(watch(watched, reload)).await;
        });
        self.serve(listener, app, Gatehouse::tls(context));
    }

    /// Starts to serve plain HTTP/1.1 for the peers in `allowed`, compared with the TCP peer and
    /// nothing else; all others get 403 whatever they send.
    pub fn serve_internal<S: App>(&self, listener: Listener, allowed: Vec<IpNet>, app: S) {
        self.serve(listener, app, Gatehouse::only(allowed));
    }

    fn serve<S: App>(&self, listener: Listener, app: S, gatehouse: Gatehouse) {
        self.shared
            .tasks
            .spawn(accept_all(listener, gatehouse, app, Arc::clone(&self.shared)));
    }

    /// Looks at the TLS files at once instead of after `transport.tls.reload_secs`.
    pub fn reload_certificates(&self) {
        self.shared.reload.notify_one();
    }

    /// Cancelled when the server begins to stop: what would otherwise go on for long (live
    /// reads) should end itself then.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.shared.stop.token().clone()
    }

    /// How many tasks are at work: one for each connection and listener.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.tasks.len()
    }

    /// Bytes of responses that are charged, all connections together.
    #[cfg(test)]
    pub(super) fn held_by_responses(&self) -> usize {
        self.shared.responses.held()
    }

    /// Stops accepting, lets every connection finish the request it is serving, and cuts what is
    /// still open after `patience`.
    pub async fn drain(&self, patience: Duration) -> Drained {
        self.shared.stop.give();
        self.shared.tasks.close();
        if timeout(patience, self.shared.tasks.wait()).await.is_err() {
            self.shared.cut.give();
            // Every task sees this at its next poll, which the signal itself brings about.
            self.shared.tasks.wait().await;
        }
        Drained {
            cut: self.shared.cut_count.load(Ordering::Relaxed),
        }
    }
}
