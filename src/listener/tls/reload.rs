use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::acme::keep_certified;
use super::context::{Origin, TlsContext, build};
use super::files::Contents;

/// What a look at the files led to.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Same,
    Changed,
    Broken(String),
}

/// Watches the files behind a [`TlsContext`].
struct Watcher {
    context: TlsContext,
    origin: Arc<Origin>,
    /// What is shown now.
    shown: Contents,
    /// The last complaint, so that it is made once.
    complaint: Option<String>,
}

impl Watcher {
    /// Compares contents, not times: what deploys certificates by renaming directories or
    /// symbolic links (Kubernetes, certbot) does not always touch the times.
    fn look(&mut self) -> Look {
        let contents = match self.origin.sources.read() {
            Ok(contents) => contents,
            Err(error) => return Look::Broken(error.to_string()),
        };
        if self.shown == contents {
            return Look::Same;
        }
        match build(&self.origin.sources, &contents, &self.origin.tls) {
            Ok(config) => {
                self.context.current.store(config);
                self.shown = contents;
                Look::Changed
            }
            Err(error) => Look::Broken(error.to_string()),
        }
    }

    fn report(&mut self, look: Look) {
        match look {
            // Files that went wrong and came back as they were deserve a word too.
            Look::Same if self.complaint.take().is_some() => tracing::info!("TLS files are in certification again"),
            Look::Same => {}
            Look::Changed => {
                self.complaint = None;
                tracing::info!(cert = %self.origin.sources.cert.path.display(), "TLS files changed: new connections use them");
            }
            Look::Broken(error) => {
                if self.complaint.as_ref() != Some(&error) {
                    tracing::error!(%error, "TLS files changed and are of no use: the old ones stay");
                    self.complaint = Some(error);
                }
            }
        }
    }
}

/// Looks at the files behind `context` every `transport.tls.reload_secs` and shows new
/// connections what changed. Broken files change nothing and are reported once. Goes on for
/// ever. A context that ACME gets its certificates for is kept supplied instead.
///
/// `reload` has them looked at at once.
pub(in crate::listener) async fn watch(context: TlsContext, reload: Arc<Notify>) {
    if let Some(certification) = context.certification {
        return keep_certified(certification).await;
    }
    let Some(origin) = context.origin.clone() else {
        return;
    };
    let mut ticks = interval(origin.tls.reload_interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watcher = Watcher {
        context,
        shown: origin.contents.clone(),
        origin,
        complaint: None,
    };
    loop {
        let asked = tokio::select! {
            _ = ticks.tick() => false,
            () = reload.notified() => true,
        };
        let looked = spawn_blocking(move || {
            let look = watcher.look();
            if asked && look == Look::Same {
                tracing::info!("the TLS files have not changed");
            }
            watcher.report(look);
            watcher
        });
        match looked.await {
            Ok(back) => watcher = back,
            // Only when the runtime is going down.
            Err(_) => return,
        }
    }
}
