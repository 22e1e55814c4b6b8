//! Figures for the metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that grows.
#[derive(Debug, Default)]
pub(super) struct Figure(AtomicU64);

impl Figure {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) reads: Figure,
    pub(super) commits: Figure,
    pub(super) committed_groups: Figure,
    pub(super) moved_groups: Figure,
    pub(super) lost_answers: Figure,
    pub(super) notifications_sent: Figure,
    pub(super) notifications_received: Figure,
    pub(super) log_reads: Figure,
}

impl Figures {
    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        let Self {
            reads,
            commits,
            committed_groups,
            moved_groups,
            lost_answers,
            notifications_sent,
            notifications_received,
            log_reads,
        } = self;
        let named = [
            ("read", reads),
            ("commit", commits),
            ("committed_group", committed_groups),
            ("moved_group", moved_groups),
            ("lost_answer", lost_answers),
            ("notification_sent", notifications_sent),
            ("notification_received", notifications_received),
            ("log_read", log_reads),
        ];
        let figures = named
            .iter()
            .map(|(name, figure)| (*name, figure.0.load(Ordering::Relaxed)));
        figures.collect()
    }
}
