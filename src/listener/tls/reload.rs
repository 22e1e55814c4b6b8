//! Keeps the certificates of a running listener current.

use std::sync::Arc;

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
            let period = loaded.tls.reload_interval();
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

/// The result of changed TLS files.
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

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::{
        file_watcher::Check,
        listener::tls::context::build_tls_context,
        listener::{TlsConfig, TransportConfig},
    };

    #[tokio::test(start_paused = true)]
    async fn broken_files_keep_the_certificate_and_good_ones_replace_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let write = |(cert, key): &(String, String)| {
            fs::write(path("cert.pem"), cert).unwrap();
            fs::write(path("key.pem"), key).unwrap();
        };
        let issue = || {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let (first, second) = (issue(), issue());
        write(&first);
        let transport = TransportConfig {
            tls: TlsConfig {
                cert_path: Some(path("cert.pem")),
                key_path: Some(path("key.pem")),
                ..TlsConfig::default()
            },
            ..TransportConfig::default()
        };
        let context = build_tls_context(&transport).unwrap();
        let Renewal::Files(loaded) = &context.renewal else {
            panic!("a context of files");
        };
        let reloader = CertificateReloader {
            current: Arc::clone(&context.current),
            loaded: Arc::clone(loaded),
            in_use: loaded.contents.clone(),
        };
        let mut watcher = FileWatcher::new(reloader, loaded.contents.clone());
        let original = context.current.load_full();

        assert_eq!(watcher.check().await, Check::Unchanged);
        for broken in ["", "no certificate", &second.0] {
            fs::write(path("cert.pem"), broken).unwrap();
            assert_eq!(watcher.check().await, Check::Changed(Change::Kept), "{broken}");
            assert_eq!(watcher.check().await, Check::Unchanged);
        }
        write(&first);
        assert_eq!(watcher.check().await, Check::Changed(Change::Restored));
        assert!(Arc::ptr_eq(&original, &context.current.load_full()));
        write(&second);
        assert_eq!(watcher.check().await, Check::Changed(Change::Replaced));
        assert!(!Arc::ptr_eq(&original, &context.current.load_full()));
        fs::remove_file(path("key.pem")).unwrap();
        assert_eq!(watcher.check().await, Check::Changed(Change::Kept));
    }
}
