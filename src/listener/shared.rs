//! State shared by all connections of a server.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hyper::server::conn::http1;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::{connection_limit::ConnectionLimit, response::budgets::ResponseBudgets, shutdown::ShutdownSignal};
use crate::{
    clock::Clock, engine::LimitsConfig, listener::ConnectionConfig, log_throttle::LogThrottle, telemetry::Metrics,
};

/// Buffer of a connection in each direction: large enough that a body arrives in few reads, small
/// enough to be multiplied by all connections. hyper requires at least 8 KiB.
const BUFFER: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) http1: http1::Builder,
    pub(super) max_header_bytes: usize,
    pub(super) timeouts: ConnectionConfig,
    pub(super) connections: ConnectionLimit,
    pub(super) responses: ResponseBudgets,
    pub(super) max_response_bytes_per_connection: u64,
    /// Accept nothing new, finish what is in flight.
    pub(super) stop: ShutdownSignal,
    /// The grace period is over.
    pub(super) cut: ShutdownSignal,
    pub(super) tasks: TaskTracker,
    /// Makes the certificate watcher read its files now.
    pub(super) reload_certificates: Arc<Notify>,
    pub(super) log_throttle: LogThrottle,
    pub(super) metrics: Option<Arc<Metrics>>,
    cut_connections: AtomicUsize,
}

/// Counts as an open connection in the metrics until it is dropped.
pub(super) struct OpenConnection(Option<Arc<Metrics>>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(metrics) = &self.0 {
            metrics.connections().dec();
        }
    }
}

impl Shared {
    pub(super) fn new(limits: &LimitsConfig, connection: &ConnectionConfig, clock: Clock) -> Self {
        Self {
            http1: http1_builder(limits.max_header_bytes),
            max_header_bytes: limits.max_header_bytes,
            timeouts: connection.clone(),
            connections: ConnectionLimit::new(limits.max_connections, limits.connections_per_address()),
            responses: ResponseBudgets::new(
                limits.max_response_bytes,
                limits.response_bytes_per_address(),
                connection.write_timeout(),
            ),
            max_response_bytes_per_connection: limits.max_response_bytes_per_connection,
            stop: ShutdownSignal::default(),
            cut: ShutdownSignal::default(),
            tasks: TaskTracker::new(),
            reload_certificates: Arc::default(),
            log_throttle: LogThrottle::new(clock.clone()),
            metrics: None,
            cut_connections: AtomicUsize::new(0),
            clock,
        }
    }

    pub(super) fn count_cut(&self) {
        self.cut_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cut_connections(&self) -> usize {
        self.cut_connections.load(Ordering::Relaxed)
    }

    pub(super) fn count_rejected(&self, reason: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.refused_connection(reason);
        }
    }

    pub(super) fn count_open(&self) -> OpenConnection {
        if let Some(metrics) = &self.metrics {
            metrics.connections().inc();
        }
        OpenConnection(self.metrics.clone())
    }
}

fn http1_builder(max_header_bytes: usize) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // `IdleTimeout` has the timeouts.
        .header_read_timeout(None)
        // Clients may close their side after their last request.
        .half_close(true)
        .max_header_size(max_header_bytes)
        .max_buf_size(max_header_bytes.max(BUFFER));
    builder
}
