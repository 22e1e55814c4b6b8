//! Taking a data directory over from the server that holds it, and handing it to the next one.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    control::{Control, Registration, Successors, Takeover},
    engine::Engine,
    http::{App, HolderState},
    storage::{lock::HolderWatch, locked::LockedStorage},
};

/// How often a server that waits for the directory looks for a holder that can be asked.
const REGISTER_INTERVAL: Duration = Duration::from_millis(500);

/// As long as a starting server has not locked the directory: registers with its holder, and asks
/// for it when a request needs it.
pub(super) async fn seek(dir: &Path, app: &App, watch: &HolderWatch) -> std::convert::Infallible {
    let (mut is_logged, mut attempts_without_holder) = (false, 0);
    loop {
        match Registration::open(dir).await {
            Ok(registration) => {
                tracing::info!("registered with the holder of the data directory, which hands it over when asked");
                app.holder_is(HolderState::Answers);
                watch.answers(true);
                wait_for_release(registration, app, watch).await;
                watch.answers(false);
                // Wakes the attempt to lock, and another one after it.
                watch.released();
            }
            Err(error) => {
                // Without a holder there is no socket, and the directory is being locked.
                if error.is_without_server() && attempts_without_holder == 0 {
                    attempts_without_holder += 1;
                    sleep(REGISTER_INTERVAL).await;
                    continue;
                }
                app.holder_is(HolderState::Silent);
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(%error, "the holder of the data directory cannot be asked for it: waiting until it stops");
                }
            }
        }
        sleep(REGISTER_INTERVAL).await;
    }
}

async fn wait_for_release(mut registration: Registration, app: &App, watch: &HolderWatch) {
    tokio::select! {
        released = registration.released() => return log_release(released),
        () = app.wanted().cancelled() => {}
    }
    tracing::info!("a request needs the store: asking its holder for it");
    // From now on a holder that hangs costs time.
    watch.answers(false);
    if let Err(error) = registration.ask().await {
        return log_release(Err(error));
    }
    log_release(registration.released().await);
}

fn log_release(released: std::io::Result<()>) {
    match released {
        Ok(()) => tracing::info!("the holder has released the data directory"),
        Err(error) => tracing::info!(%error, "the holder of the data directory is gone"),
    }
}

/// A server's hold on its data directory.
pub(super) struct Holding {
    pub(super) app: App,
    pub(super) engine: Engine,
    pub(super) storage: Arc<LockedStorage>,
    pub(super) takeover: Option<Takeover>,
    pub(super) control: Option<(Control, Successors)>,
    pub(super) is_released: bool,
}

impl Holding {
    /// Waits until another server needs the directory.
    pub(super) async fn asked(&mut self) {
        match &mut self.control {
            Some((_, successors)) if !self.is_released => successors.ask().await,
            _ => std::future::pending().await,
        }
    }

    /// Hands the directory over at a stop, if a server waits for it.
    pub(super) async fn release_to_waiting(&mut self) {
        let is_waited_for = |(_, successors): &(_, Successors)| successors.are_waiting();
        if !self.is_released && self.control.as_ref().is_some_and(is_waited_for) {
            self.release().await;
        }
    }

    /// Commits what is queued, closes the store, unlocks its directory, and forwards from then on.
    pub(super) async fn release(&mut self) {
        let started = Instant::now();
        self.is_released = true;
        self.app.leave().await;
        if let Some((control, _)) = &mut self.control {
            control.close();
        }
        if let Some(takeover) = &mut self.takeover {
            takeover.remove();
        }
        self.engine.stop().await;
        close_store(Arc::clone(&self.storage)).await;
        if let Some((control, _)) = &self.control {
            control.released();
        }
        self.app.moved();
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(took_ms, "handed the data directory over; forwarding what still comes");
    }

    /// Closes the store at the end, even if a task still refers to it: a store that is dropped with
    /// the process is not checkpointed.
    pub(super) async fn close(self) {
        if let Some((control, _)) = self.control {
            control.ended().await;
        }
        close_store(self.storage).await;
    }
}

async fn close_store(storage: Arc<LockedStorage>) {
    if tokio::task::spawn_blocking(move || storage.release()).await.is_err() {
        tracing::error!("the store could not be closed");
    }
}
