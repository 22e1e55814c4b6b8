//! Metrics in Prometheus' format. No label grows with streams, clients or tokens.

use std::time::Duration;

use http::StatusCode;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::{
    registered::registered, requests::RequestCounters, shared_store::SharedStoreState,
    subscriptions::SubscriptionMetrics,
};
use crate::storage::Usage;

/// All metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: RequestCounters,
    appended_bytes: IntCounter,
    live_readers: IntGaugeVec,
    commits: IntCounter,
    failed_commits: IntCounter,
    batch_size: Histogram,
    commit_seconds: Histogram,
    streams: IntGauge,
    stored_bytes: IntGauge,
    streams_in_memory: IntGauge,
    refused_connections: IntCounterVec,
    connections: IntGauge,
    subscriptions: SubscriptionMetrics,
}

impl Metrics {
    /// A registry with everything at zero.
    ///
    /// # Errors
    /// A defect in this file.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        Ok(Self {
            requests: RequestCounters::new(r)?,
            appended_bytes: registered(
                r,
                IntCounter::new("ds_appended_bytes_total", "Bytes of appended request bodies"),
            )?,
            live_readers: registered(
                r,
                IntGaugeVec::new(Opts::new("ds_live_readers", "Open live reads by mode"), &["mode"]),
            )?,
            commits: registered(r, IntCounter::new("ds_commits_total", "Committed batches"))?,
            failed_commits: registered(
                r,
                IntCounter::new("ds_failed_commits_total", "Batches that failed to commit"),
            )?,
            batch_size: registered(
                r,
                Histogram::with_opts(
                    HistogramOpts::new("ds_commit_batch_size", "Commands per committed batch")
                        .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 2048.0]),
                ),
            )?,
            commit_seconds: registered(
                r,
                Histogram::with_opts(
                    HistogramOpts::new("ds_commit_seconds", "Duration of a commit").buckets(vec![
                        0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
                    ]),
                ),
            )?,
            streams: registered(r, IntGauge::new("ds_streams", "Streams in the store"))?,
            stored_bytes: registered(r, IntGauge::new("ds_stored_bytes", "Bytes in the store"))?,
            streams_in_memory: registered(r, IntGauge::new("ds_streams_in_memory", "Streams held in memory"))?,
            refused_connections: registered(
                r,
                IntCounterVec::new(
                    Opts::new("ds_refused_connections_total", "Refused connections by reason"),
                    &["reason"],
                ),
            )?,
            connections: registered(r, IntGauge::new("ds_connections", "Open connections"))?,
            subscriptions: SubscriptionMetrics::new(r)?,
            registry,
        })
    }

    /// Those of subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> &SubscriptionMetrics {
        &self.subscriptions
    }

    /// Counts a request. `operation` is a label of the route table.
    pub fn request(&self, operation: &'static str, status: StatusCode) {
        self.requests.count(operation, status);
    }

    /// Counts the bytes of an append.
    pub fn appended(&self, bytes: u64) {
        self.appended_bytes.inc_by(bytes);
    }

    /// Counts a batch that was handed to the store.
    pub fn committed(&self, commands: usize, took: Duration, taken: bool) {
        if taken {
            self.commits.inc();
            self.batch_size
                .observe(u32::try_from(commands).unwrap_or(u32::MAX).into());
            self.commit_seconds.observe(took.as_secs_f64());
        } else {
            self.failed_commits.inc();
        }
    }

    /// The gauge of open live reads of a mode: `sse` or `long-poll`.
    #[must_use]
    pub fn live_readers(&self, mode: &str) -> IntGauge {
        self.live_readers.with_label_values(&[mode])
    }

    /// The gauge of open connections.
    #[must_use]
    pub fn connections(&self) -> &IntGauge {
        &self.connections
    }

    /// Counts a connection that was not served: `full`, `peer`, `tls`.
    pub fn refused_connection(&self, reason: &str) {
        self.refused_connections.with_label_values(&[reason]).inc();
    }

    /// All metrics, in Prometheus' text format.
    ///
    /// # Errors
    /// A metric that cannot be written as text.
    pub fn render(
        &self,
        usage: Usage,
        streams_in_memory: usize,
        shared_store: Option<&SharedStoreState>,
    ) -> prometheus::Result<Vec<u8>> {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.streams.set(gauge(usage.streams));
        self.stored_bytes.set(gauge(usage.bytes));
        self.streams_in_memory
            .set(i64::try_from(streams_in_memory).unwrap_or(i64::MAX));
        let mut out = Vec::new();
        let mut families = self.registry.gather();
        families.extend(shared_store.map(SharedStoreState::families).unwrap_or_default());
        TextEncoder::new().encode(&families, &mut out)?;
        Ok(out)
    }
}
