//! The certificates and settings of a TLS listener.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rustls::{
    ConfigBuilder, ServerConfig, SupportedProtocolVersion, WantsVerifier,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoClientAuth, ResolvesServerCert, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
    version,
};

pub use super::identity::TlsContextError;
use super::{
    files::{TlsFileContents, TlsFiles},
    identity::{certified_key, client_verifier},
};
use crate::{
    clock::Clock,
    listener::{TlsConfig, TlsVersion, TransportConfig},
};

/// Cheap to clone. Every new connection uses what is current, so that certificates can change
/// under open connections.
#[derive(Debug, Clone)]
pub struct TlsContext {
    pub(super) current: Arc<ArcSwap<ServerConfig>>,
    /// For the ACME server's TLS-ALPN-01 checks (RFC 8737).
    pub(super) challenge: Option<Arc<ServerConfig>>,
    pub(super) renewal: Renewal,
}

/// How the certificates are kept current.
#[derive(Clone)]
pub(super) enum Renewal {
    /// By reading these files again.
    Files(Arc<LoadedFiles>),
    /// By a task; `None` once it has been started.
    Task(Arc<Mutex<Option<RenewalTask>>>),
}

/// Obtains certificates until it is dropped.
pub(super) type RenewalTask = Box<dyn FnOnce(Clock) -> BoxFuture<'static, ()> + Send>;

/// The files that a context was built from.
pub(super) struct LoadedFiles {
    pub(super) files: TlsFiles,
    pub(super) contents: TlsFileContents,
    pub(super) tls: TlsConfig,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Not the contents, which hold a private key.
            Self::Files(loaded) => f.debug_tuple("Files").field(&loaded.files).finish(),
            Self::Task(_) => f.write_str("Task"),
        }
    }
}

/// Reads the certificate, its key and the client CAs that `transport` names.
///
/// # Errors
/// [`TlsContextError`] names the file and what is wrong in it.
pub fn build_tls_context(transport: &TransportConfig) -> Result<TlsContext, TlsContextError> {
    let files = TlsFiles::new(transport)?;
    let loaded = LoadedFiles {
        contents: files.read()?,
        files,
        tls: transport.tls.clone(),
    };
    let config = server_config(&loaded.files, &loaded.contents, &loaded.tls)?;
    Ok(TlsContext {
        current: Arc::new(ArcSwap::new(config)),
        challenge: None,
        renewal: Renewal::Files(Arc::new(loaded)),
    })
}

/// The configuration that `contents` makes.
pub(super) fn server_config(
    files: &TlsFiles,
    contents: &TlsFileContents,
    tls: &TlsConfig,
) -> Result<Arc<ServerConfig>, TlsContextError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certified = certified_key(files, contents, &provider)?;
    let verifier = match (&files.client_ca, &contents.client_ca) {
        (Some(file), Some(bundle)) => client_verifier(file, bundle, &provider)?,
        _ => Arc::new(NoClientAuth),
    };
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    Ok(finish(config_builder(provider, tls)?, verifier, resolver, tls))
}

/// Sets the TLS versions.
pub(super) fn config_builder(
    provider: Arc<CryptoProvider>,
    tls: &TlsConfig,
) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, TlsContextError> {
    let versions: Vec<&'static SupportedProtocolVersion> = [
        (TlsVersion::Tls12, &version::TLS12),
        (TlsVersion::Tls13, &version::TLS13),
    ]
    .into_iter()
    .filter(|(version, _)| (tls.min_version..=tls.max_version).contains(version))
    .map(|(_, supported)| supported)
    .collect();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(TlsContextError::Versions)
}

/// Sets the certificate, the ALPN names and the session tickets.
pub(super) fn finish(
    builder: ConfigBuilder<ServerConfig, WantsVerifier>,
    verifier: Arc<dyn ClientCertVerifier>,
    resolver: Arc<dyn ResolvesServerCert>,
    tls: &TlsConfig,
) -> Arc<ServerConfig> {
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    config.alpn_protocols = tls.alpn_protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    // The server's order decides (RFC 7301, section 3.2), and the documented list begins with
    // HTTP/1.1: without this no browser would get HTTP/2, and its seventh live read would wait for
    // one of six connections.
    config.alpn_protocols.sort_by_key(|name| name != b"h2");
    // Readers reconnect every minute. Resumption costs a fraction of a handshake, and with tickets
    // it costs no memory here. A new configuration has new ticket keys, so no session outlives the
    // client CA that admitted it.
    if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Arc::new(config)
}
