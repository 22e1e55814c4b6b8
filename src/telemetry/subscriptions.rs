//! Metrics of subscriptions. None has a label for each of them.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::registered::registered;

/// Counts what subscriptions do. Clones count together.
#[derive(Debug, Clone)]
pub struct SubscriptionMetrics {
    wakes: IntCounter,
    deliveries: IntCounterVec,
    delivery_failures: IntCounterVec,
    claims: IntCounterVec,
    fenced: IntCounter,
    refused_links: IntCounter,
    subscriptions: IntGauge,
    pending_streams: IntGauge,
    lag_seconds: IntGauge,
}

impl SubscriptionMetrics {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| registered(registry, IntCounter::new(name, help));
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help));
        let by = |label: &str, name: &str, help: &str| {
            registered(registry, IntCounterVec::new(Opts::new(name, help), &[label]))
        };
        Ok(Self {
            wakes: counter("ds_subscription_wakes_total", "Wakes issued")?,
            deliveries: by(
                "outcome",
                "ds_subscription_deliveries_total",
                "Webhook deliveries by outcome: done, accepted, failed",
            )?,
            delivery_failures: by(
                "kind",
                "ds_subscription_delivery_failures_total",
                "Webhook deliveries that failed and are repeated, by what went wrong",
            )?,
            claims: by(
                "outcome",
                "ds_subscription_claims_total",
                "Claims by outcome: claimed, refused",
            )?,
            fenced: counter(
                "ds_subscription_fenced_total",
                "Requests of workers whose wake was over or belonged to another generation",
            )?,
            refused_links: counter(
                "ds_subscription_refused_links_total",
                "Events of matching streams that are not delivered, because a limit on links is reached",
            )?,
            subscriptions: gauge("ds_subscriptions", "Subscriptions")?,
            pending_streams: gauge(
                "ds_subscription_pending_streams",
                "Streams that may have content after a cursor, counted for each subscription",
            )?,
            lag_seconds: gauge(
                "ds_subscription_lag_seconds",
                "How long the subscription that has waited longest has had pending streams",
            )?,
        })
    }

    /// Counts a wake.
    pub fn woken(&self) {
        self.wakes.inc();
    }

    /// Counts a delivery by its outcome: `done`, `accepted`, `failed`.
    pub fn delivered(&self, outcome: &str) {
        self.deliveries.with_label_values(&[outcome]).inc();
    }

    /// Counts a delivery that has to be repeated, by the kind of its failure.
    pub fn failed(&self, kind: &str) {
        self.delivery_failures.with_label_values(&[kind]).inc();
    }

    /// Counts a claim, which succeeded or was refused.
    pub fn claimed(&self, succeeded: bool) {
        let outcome = if succeeded { "claimed" } else { "refused" };
        self.claims.with_label_values(&[outcome]).inc();
    }

    /// Counts a request that was fenced.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// Counts a change of a matching stream that is not linked because of a limit.
    pub fn link_refused(&self) {
        self.refused_links.inc();
    }

    /// Sets how far behind the subscriptions are.
    pub fn set_lag(&self, subscriptions: usize, pending_streams: usize, oldest_millis: u64) {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.subscriptions.set(gauge(subscriptions));
        self.pending_streams.set(gauge(pending_streams));
        self.lag_seconds
            .set(i64::try_from(oldest_millis / 1000).unwrap_or(i64::MAX));
    }
}
