use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, SupportedProtocolVersion, WantsVerifier, version};

use super::acme::Certification;
use super::files::{Contents, Source, Sources, TlsFileError};
use crate::listener::{TlsConfig, TlsVersion, TransportConfig};

/// What is wrong inside the files; the `[build_tls_context]` phase.
#[derive(Debug, thiserror::Error)]
pub enum TlsContextError {
    /// A file went away since it was checked.
    #[error(transparent)]
    File(#[from] TlsFileError),
    /// Not PEM, or not what PEM says that it is.
    #[error("{field}: {} is malformed: {reason}", path.display())]
    Malformed {
        /// The configuration's name for the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// A PEM file without a certificate.
    #[error("{field}: {} contains no certificate", path.display())]
    NoCertificate {
        /// The configuration's name for the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A PEM file without a private key.
    #[error("{field}: {} contains no private key", path.display())]
    NoKey {
        /// The configuration's name for the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The key belongs to another certificate.
    #[error("the private key in {} does not match the certificate in {}", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// No client certificate could ever be checked against it.
    #[error("{field}: {} is no usable CA bundle: {reason}", path.display())]
    ClientCa {
        /// The configuration's name for the file.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// `min_version` above `max_version`, or a library that supports neither.
    #[error("transport.tls: no TLS version lies between min_version and max_version")]
    Versions,
    /// No domain to get a certificate for, or no place to keep it.
    #[error("transport.acme: {0}")]
    Acme(String),
}

/// What a TLS listener shows its clients. Cheap to clone; every new connection takes what is
/// current, so that files can change under open connections.
#[derive(Debug, Clone)]
pub struct TlsContext {
    pub(in crate::listener) current: Arc<ArcSwap<ServerConfig>>,
    /// For the ACME server's TLS-ALPN-01 checks (RFC 8737).
    pub(in crate::listener) challenge: Option<Arc<ServerConfig>>,
    /// The files that it came from, to look at again.
    pub(super) origin: Option<Arc<Origin>>,
    /// What gets its certificates, instead of files.
    pub(super) certification: Option<Certification>,
}

/// Where a context came from.
pub(super) struct Origin {
    pub(super) sources: Sources,
    pub(super) contents: Contents,
    pub(super) tls: TlsConfig,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the contents: there is a private key among them.
        f.debug_struct("Origin")
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// Reads the certificate, its key and the client CAs that `transport` names.
///
/// # Errors
/// [`TlsContextError`] names the file and what is wrong in it.
pub fn build_tls_context(transport: &TransportConfig) -> Result<TlsContext, TlsContextError> {
    let sources = Sources::new(transport)?;
    let origin = Origin {
        contents: sources.read()?,
        sources,
        tls: transport.tls.clone(),
    };
    Ok(TlsContext {
        current: Arc::new(ArcSwap::new(build(&origin.sources, &origin.contents, &origin.tls)?)),
        challenge: None,
        origin: Some(Arc::new(origin)),
        certification: None,
    })
}

/// The configuration that `contents` makes.
pub(super) fn build(
    sources: &Sources,
    contents: &Contents,
    tls: &TlsConfig,
) -> Result<Arc<ServerConfig>, TlsContextError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certified = certified_key(sources, contents, &provider)?;
    let verifier = match (&sources.client_ca, &contents.client_ca) {
        (Some(source), Some(bundle)) => client_verifier(source, bundle, &provider)?,
        _ => Arc::new(NoClientAuth),
    };
    finish(
        builder(provider, tls)?,
        verifier,
        Arc::new(SingleCertAndKey::from(certified)),
        tls,
    )
}

/// What every listener's configuration begins with.
pub(super) fn builder(
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
        .map_err(|_| TlsContextError::Versions)
}

/// And what it ends with.
pub(super) fn finish(
    builder: ConfigBuilder<ServerConfig, WantsVerifier>,
    verifier: Arc<dyn ClientCertVerifier>,
    resolver: Arc<dyn ResolvesServerCert>,
    tls: &TlsConfig,
) -> Result<Arc<ServerConfig>, TlsContextError> {
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    config.alpn_protocols = tls.alpn_protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    // The server's order decides (RFC 7301, section 3.2), and the list that all documentation
    // shows begins with HTTP/1.1: as it stands no browser would ever get HTTP/2, and its seventh
    // live read would wait for one of six connections.
    config.alpn_protocols.sort_by_key(|name| name != b"h2");
    // Readers come back every minute: resuming is a fraction of a full handshake, and with
    // tickets the memory for it is theirs. A new configuration has new keys, so that no
    // session outlives the client CA that admitted it.
    if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Arc::new(config))
}

fn certified_key(
    sources: &Sources,
    contents: &Contents,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsContextError> {
    let chain = certificates(&sources.cert, &contents.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsContextError::NoKey {
            field: sources.key.field,
            path: sources.key.path.clone(),
        },
        error => malformed(&sources.key, &error),
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| malformed(&sources.key, &error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsContextError::KeyMismatch {
            cert: sources.cert.path.clone(),
            key: sources.key.path.clone(),
        }),
        Err(error) => Err(malformed(&sources.cert, &error)),
    }
}

pub(super) fn client_verifier(
    source: &Source,
    bundle: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsContextError> {
    let unusable = |reason: String| TlsContextError::ClientCa {
        field: source.field,
        path: source.path.clone(),
        reason,
    };
    let roots = roots(source, bundle).map_err(|error| match error {
        TlsContextError::Malformed { reason, .. } => unusable(reason),
        error => error,
    })?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// A CA bundle, every certificate of it usable.
pub(super) fn roots(source: &Source, bundle: &[u8]) -> Result<RootCertStore, TlsContextError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(source, bundle)? {
        roots.add(certificate).map_err(|error| malformed(source, &error))?;
    }
    Ok(roots)
}

fn certificates(source: &Source, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsContextError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(source, &error))?;
    if chain.is_empty() {
        return Err(TlsContextError::NoCertificate {
            field: source.field,
            path: source.path.clone(),
        });
    }
    Ok(chain)
}

fn malformed(source: &Source, error: &dyn std::fmt::Display) -> TlsContextError {
    TlsContextError::Malformed {
        field: source.field,
        path: source.path.clone(),
        reason: error.to_string(),
    }
}
