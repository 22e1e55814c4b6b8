//! The upkeep of a shared store, by the server that has the duty. That of a store with one holder is
//! in `maintenance.rs`.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Engine, Shared, errors::Unavailable};
use crate::{
    log_throttle::LogThrottle,
    storage::{CommitError, Duty},
};

const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Maintains the store for as long as the engine lives.
pub(super) async fn maintain(engine: Weak<Shared>, stopped: CancellationToken) {
    let failures = LogThrottle::default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(UPKEEP_INTERVAL) => {}
            () = stopped.cancelled() => return,
        }
        let Some(shared) = engine.upgrade() else { return };
        if let Err(error) = (Engine { shared }).maintain_if_on_duty().await
            && let Some(suppressed) = failures.allow("upkeep")
        {
            tracing::warn!(%error, suppressed, "store maintenance failed; will retry");
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error(transparent)]
    Storage(#[from] CommitError),
}

impl Engine {
    async fn maintain_if_on_duty(&self) -> Result<(), UpkeepError> {
        while self.has_duty(Duty::Upkeep).await? {
            let storage = Arc::clone(&self.shared.storage);
            if !self.blocking(move || storage.maintain()).await?? || self.shared.stopped.is_cancelled() {
                break;
            }
        }
        Ok(())
    }
}
