//! Metrics of a store that several servers share. The store counts for itself, so these have no state.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use crate::storage::{Durations, StoreFigures};

/// The state of a shared store when metrics are requested.
#[derive(Debug)]
pub struct SharedStoreState {
    /// The counts since the start.
    pub figures: StoreFigures,
    /// Whether the store is reached.
    pub is_reached: bool,
}

impl SharedStoreState {
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let figures = &self.figures;
        let events = figures.events.iter().map(|(event, count)| counter(event, *count));
        let round_trips = figures.round_trips.iter();
        let round_trips = round_trips.map(|(purpose, durations)| histogram(purpose, durations));
        let mut families = vec![
            family(
                "ds_store_events_total",
                "Round trips to a shared store, and what came of them",
                MetricType::COUNTER,
                events.collect(),
            ),
            family(
                "ds_store_round_trip_seconds",
                "Duration of round trips to a shared store",
                MetricType::HISTOGRAM,
                round_trips.collect(),
            ),
            family(
                "ds_store_reached",
                "Whether the shared store is reached",
                MetricType::GAUGE,
                vec![gauge(f64::from(u8::from(self.is_reached)))],
            ),
            family(
                "ds_store_notifications_arrive",
                "Whether notifications of other servers arrive; the log is read instead if not",
                MetricType::GAUGE,
                vec![gauge(f64::from(u8::from(figures.hears_notifications)))],
            ),
        ];
        if let Some(lag) = figures.lag {
            families.push(family(
                "ds_store_lag_seconds",
                "Time since every change of other servers was known",
                MetricType::GAUGE,
                vec![gauge(lag.as_secs_f64())],
            ));
        }
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn label(name: &str, value: &str) -> Vec<LabelPair> {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    vec![label]
}

fn counter(event: &str, count: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut metric = Metric::from_label(label("event", event));
    metric.set_counter(counter);
    metric
}

fn gauge(value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    Metric::from_gauge(gauge)
}

fn histogram(purpose: &str, durations: &Durations) -> Metric {
    let buckets = durations.buckets.iter().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket.set_cumulative_count(*count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(durations.count);
    histogram.set_sample_sum(durations.sum.as_secs_f64());
    let mut metric = Metric::from_label(label("purpose", purpose));
    metric.set_histogram(histogram);
    metric
}
