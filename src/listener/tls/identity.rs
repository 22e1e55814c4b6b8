//! Certificates, keys and CA bundles, parsed from PEM.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::files::{TlsFile, TlsFileContents, TlsFileError, TlsFiles};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Errors in the contents of the files, or in the TLS settings; the `[build_tls_context]` phase.
#[derive(Debug, thiserror::Error)]
pub enum TlsContextError {
    /// A file has become unreadable since it was checked.
    #[error(transparent)]
    File(#[from] TlsFileError),
    #[error("{file} is malformed: {source}")]
    Malformed { file: TlsFile, source: BoxError },
    #[error("{0} contains no certificate")]
    NoCertificate(TlsFile),
    #[error("{0} contains no private key")]
    NoKey(TlsFile),
    #[error("the private key in {} does not match the certificate in {}", key.path.display(), cert.path.display())]
    KeyMismatch { cert: TlsFile, key: TlsFile },
    /// No client certificate could ever be verified with it.
    #[error("{file} is not a usable CA bundle: {source}")]
    ClientCa { file: TlsFile, source: BoxError },
    /// `min_version` is above `max_version`.
    #[error("transport.tls: no TLS version lies between min_version and max_version")]
    Versions(#[source] rustls::Error),
    /// Automatic HTTPS cannot work as configured.
    #[error("transport.acme: {0}")]
    Acme(#[source] BoxError),
}

/// The certificate chain of the files and its private key.
pub(super) fn certified_key(
    files: &TlsFiles,
    contents: &TlsFileContents,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsContextError> {
    let chain = certificates(&files.cert, &contents.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsContextError::NoKey(files.key.clone()),
        error => malformed(&files.key, error),
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| malformed(&files.key, error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsContextError::KeyMismatch {
            cert: files.cert.clone(),
            key: files.key.clone(),
        }),
        Err(error) => Err(malformed(&files.cert, error)),
    }
}

/// Verifies client certificates that a CA of the bundle has signed.
pub(super) fn client_verifier(
    file: &TlsFile,
    bundle: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsContextError> {
    let unusable = |source: BoxError| TlsContextError::ClientCa {
        file: file.clone(),
        source,
    };
    let roots = ca_bundle(file, bundle).map_err(|error| match error {
        TlsContextError::Malformed { source, .. } => unusable(source),
        error => error,
    })?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| unusable(error.into()))
}

/// A CA bundle; each of its certificates must be usable.
pub(super) fn ca_bundle(file: &TlsFile, bundle: &[u8]) -> Result<RootCertStore, TlsContextError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, bundle)? {
        roots.add(certificate).map_err(|error| malformed(file, error))?;
    }
    Ok(roots)
}

fn certificates(file: &TlsFile, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsContextError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(file, error))?;
    if chain.is_empty() {
        return Err(TlsContextError::NoCertificate(file.clone()));
    }
    Ok(chain)
}

fn malformed(file: &TlsFile, source: impl Into<BoxError>) -> TlsContextError {
    TlsContextError::Malformed {
        file: file.clone(),
        source: source.into(),
    }
}
