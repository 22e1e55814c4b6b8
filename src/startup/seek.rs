//! Waiting for a data directory that another server holds, and asking that server for it.

use std::{path::Path, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    control::Registration,
    http::{App, HolderState},
    storage::lock::HolderWatch,
};

/// How often a server that waits for the directory looks for a holder that can be asked.
const REGISTER_INTERVAL: Duration = Duration::from_millis(500);

/// How long there may be no holder before it counts as one that cannot be asked: a killed one needs a
/// moment to end, and the next one to open its socket.
const MAX_CHANGE: Duration = Duration::from_secs(1);

const CHANGE_INTERVAL: Duration = Duration::from_millis(100);

/// As long as a starting server has not locked the directory: registers with its holder, and asks
/// for it when a request needs it.
pub(super) async fn seek(dir: &Path, app: &App, watch: &HolderWatch) -> std::convert::Infallible {
    let (mut is_logged, mut without_holder) = (false, None);
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
                without_holder = None;
            }
            Err(error) => {
                // Without a holder there is no socket, and the directory is about to be locked.
                let since = *without_holder.get_or_insert_with(Instant::now);
                if error.is_without_server() && since.elapsed() < MAX_CHANGE {
                    sleep(CHANGE_INTERVAL).await;
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
