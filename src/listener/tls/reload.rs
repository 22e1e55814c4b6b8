//! Keeps the certificates of a running listener current.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::sync::Notify;

use super::{
    context::{LoadedFiles, Renewal, TlsContext, server_config},
    files::TlsFileContents,
};
use crate::{
    clock::Clock,
    file_watcher::{Contents, FileWatcher, ReadFiles, WatchedFiles},
};

/// Reloads the files of `context` every `transport.tls.reload_secs` and when `reload` is notified,
/// or runs the task that obtains its certificates.
pub(in crate::listener) async fn keep_current(context: TlsContext, reload: Arc<Notify>, clock: Clock) {
    match &context.renewal {
        Renewal::Files(loaded) => {
            let reloader = CertificateReloader {
                current: Arc::clone(&context.current),
                loaded: Arc::clone(loaded),
                in_use: loaded.contents.clone(),
            };
            let period = Duration::from_secs(loaded.tls.reload_secs.max(1));
            let watcher = FileWatcher::new(reloader, loaded.contents.clone());
            watcher.run(Some(period), reload).await;
        }
        Renewal::Task(task) => {
            let task = task.lock().take();
            if let Some(task) = task {
                task(clock).await;
            }
        }
    }
}

struct CertificateReloader {
    current: Arc<ArcSwap<ServerConfig>>,
    loaded: Arc<LoadedFiles>,
    in_use: TlsFileContents,
}

/// What changed TLS files led to.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// New connections use the new files.
    Replaced,
    /// The files cannot be used, so new connections use the old contents.
    Kept,
    /// The files hold what is in use again.
    Restored,
}

impl WatchedFiles for CertificateReloader {
    type Contents = TlsFileContents;
    type Change = Change;
    const NAME: &'static str = "the TLS files";

    fn reader(&self) -> Option<ReadFiles<TlsFileContents>> {
        let loaded = Arc::clone(&self.loaded);
        Some(Box::new(move || loaded.files.read().map_err(|error| error.to_string())))
    }

    fn apply(&mut self, contents: Contents<TlsFileContents>) -> Change {
        let LoadedFiles { files, tls, .. } = &*self.loaded;
        let built = contents.and_then(|contents| {
            if contents == self.in_use {
                return Ok(None);
            }
            let config = server_config(files, &contents, tls).map_err(|error| error.to_string())?;
            Ok(Some((contents, config)))
        });
        match built {
            Ok(Some((contents, config))) => {
                self.current.store(config);
                self.in_use = contents;
                tracing::info!(cert = %files.cert.path.display(), "TLS files changed: new connections use them");
                Change::Replaced
            }
            Ok(None) => {
                tracing::info!("the TLS files are usable again and hold the certificate in use");
                Change::Restored
            }
            Err(error) => {
                tracing::error!(%error, "TLS files changed and cannot be used; the old certificate stays in use");
                Change::Kept
            }
        }
    }
}
