//! What live reads have in common: they are counted, and they end with their token and
//! with the server.

use std::{sync::Arc, time::Duration};

use prometheus::IntGauge;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{App, Problem};
use crate::{auth::Permit, clock};

/// A live read's place among those that may be open at once.
pub(super) struct Place {
    gauge: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Takes a place, if one is free.
    pub(super) fn take(app: &App, mode: &'static str) -> Result<Self, Problem> {
        let permit = Arc::clone(app.live_readers()).try_acquire_owned();
        let permit =
            permit.map_err(|_| Problem::come_back("too-many-readers", "too many live reads are open; try again"))?;
        let gauge = app.metrics().live_readers(mode);
        gauge.inc();
        Ok(Self { gauge, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// When a live read has to end: after `longest`, or with its token.
pub(super) fn end(permit: &Permit, longest: Option<Duration>) -> Option<Instant> {
    let token_left = permit
        .expires_at()
        .map(|at| Duration::from_millis(at.saturating_mul(1000).saturating_sub(clock::now_millis())));
    let left = match (longest, token_left) {
        (Some(longest), Some(token)) => longest.min(token),
        (Some(left), None) | (None, Some(left)) => left,
        (None, None) => return None,
    };
    Instant::now().checked_add(left)
}

/// Ends when the key that verified the permit's token is withdrawn; never on an open server.
pub(super) fn key_withdrawn(permit: &Permit) -> WaitForCancellationFutureOwned {
    permit.key_withdrawn().cloned().unwrap_or_default().cancelled_owned()
}
