use std::fs::DirBuilder;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoClientAuth;
use rustls_acme::caches::DirCache;
use rustls_acme::{AcmeConfig as Client, AcmeState, EventOk};

use super::context::{TlsContext, TlsContextError, builder, client_verifier, finish, roots};
use super::files::{Source, client_ca};
use crate::config::{AcmeConfig, TransportConfig};

/// What orders certificates and renews them, until somebody runs it.
#[derive(Clone)]
pub(super) struct Order(Arc<Mutex<Option<AcmeState<io::Error>>>>);

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Order")
    }
}

/// Automatic HTTPS for `transport.acme.domain` (RFC 8555 with TLS-ALPN-01, RFC 8737): the
/// context serves right away, and handshakes fail until the first certificate has come. A
/// certificate is renewed when a third of its life is left.
///
/// Account and certificates are kept in `transport.acme.cache_dir`, or else in `acme` under
/// `data_dir`, which nobody but this user may read.
///
/// # Errors
/// [`TlsContextError`] when there is no domain, the cache cannot be kept, or the directory's CA
/// or the client CA is of no use.
pub fn build_acme_context(transport: &TransportConfig, data_dir: &Path) -> Result<TlsContext, TlsContextError> {
    let acme = &transport.acme;
    let domain = acme
        .domain
        .as_ref()
        .ok_or_else(|| TlsContextError::Acme("domain is not set".into()))?;
    let cache = acme.cache_dir.clone().unwrap_or_else(|| data_dir.join("acme"));
    create_private(&cache)
        .map_err(|error| TlsContextError::Acme(format!("cannot keep certificates in {}: {error}", cache.display())))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let state = client(acme, domain, &provider)?
        .contact(acme.contact.iter().map(|mail| format!("mailto:{mail}")))
        .directory(&acme.directory_url)
        .cache(DirCache::new(cache))
        .state();
    let verifier = match client_ca(transport)? {
        Some(source) => client_verifier(&source, &source.read()?, &provider)?,
        None => Arc::new(NoClientAuth),
    };
    let config = finish(
        builder(Arc::clone(&provider), &transport.tls)?,
        verifier,
        state.resolver(),
        &transport.tls,
    )?;
    Ok(TlsContext {
        current: Arc::new(ArcSwap::new(config)),
        challenge: Some(state.challenge_rustls_config_with_provider(provider)),
        origin: None,
        order: Some(Order(Arc::new(Mutex::new(Some(state))))),
    })
}

fn client(
    acme: &AcmeConfig,
    domain: &str,
    provider: &Arc<CryptoProvider>,
) -> Result<Client<std::convert::Infallible>, TlsContextError> {
    let Some(path) = &acme.root_ca_path else {
        return Ok(Client::new_with_provider([domain], Arc::clone(provider)));
    };
    let source = Source {
        field: "transport.acme.root_ca_path",
        path: path.clone(),
    };
    let roots = roots(&source, &source.read()?)?;
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsContextError::Acme(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Client::new_with_client_config([domain], Arc::new(config)))
}

/// Creates a directory that nobody else may look into: private keys will lie in it.
fn create_private(path: &PathBuf) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Orders and renews as long as it runs.
pub(super) async fn keep_certified(order: Order) {
    let Some(mut state) = order.0.lock().take() else {
        return;
    };
    while let Some(event) = state.next().await {
        match event {
            Ok(EventOk::DeployedNewCert) => tracing::info!("a new certificate has been issued and is in use"),
            Ok(EventOk::DeployedCachedCert) => tracing::info!("the cached certificate is in use"),
            Ok(EventOk::CertCacheStore | EventOk::AccountCacheStore) => {}
            // The library tries again by itself, at growing intervals.
            Err(error) => tracing::error!(%error, "automatic HTTPS"),
        }
    }
}
