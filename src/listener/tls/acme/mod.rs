//! Automatic HTTPS: certificates from an ACME server (RFC 8555), validated by TLS-ALPN-01
//! (RFC 8737) on the public listener itself.
//!
//! The rest of the server knows this folder by [`build_acme_context`] alone.

mod certificate;
mod https_client;
mod retry_schedule;
mod store;
mod worker;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoClientAuth,
};

use self::{
    certificate::CertificateSlot,
    https_client::HttpsClient,
    store::AcmeStore,
    worker::{AcmeWorker, Settings},
};
use super::{
    context::{Renewal, RenewalTask, TlsContext, config_builder, finish},
    files::{TlsFile, client_ca},
    handshake::ACME_TLS_ALPN,
    identity::{TlsContextError, ca_bundle, client_verifier},
};
use crate::{
    config::{AcmeConfig, TransportConfig},
    random::Random,
};

#[derive(Debug, thiserror::Error)]
enum AcmeError {
    #[error("domain is not set")]
    NoDomain,
    #[error("cannot keep certificates in {}: {source}", dir.display())]
    Store { dir: PathBuf, source: io::Error },
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl From<AcmeError> for TlsContextError {
    fn from(error: AcmeError) -> Self {
        Self::Acme(Box::new(error))
    }
}

/// Automatic HTTPS for `transport.acme.domain`. The context can be served at once; handshakes
/// fail until the first certificate has been issued. A certificate is renewed when a third of its
/// lifetime is left.
///
/// The account, the certificate and the retry schedule are kept in `transport.acme.cache_dir`, by
/// default in `acme` under `data_dir`, readable by this user only.
///
/// # Errors
/// [`TlsContextError`] when the domain is missing, the directory cannot be written, or the ACME
/// server's CA or the client CA cannot be used.
pub fn build_acme_context(transport: &TransportConfig, data_dir: &Path) -> Result<TlsContext, TlsContextError> {
    let acme = &transport.acme;
    let domain = acme.domain.clone().ok_or(AcmeError::NoDomain)?;
    let dir = acme.cache_dir.clone().unwrap_or_else(|| data_dir.join("acme"));
    let store = AcmeStore::open(&dir, &acme.directory_url, &domain).map_err(|source| AcmeError::Store {
        dir: dir.clone(),
        source,
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match client_ca(transport)? {
        Some(file) => client_verifier(&file, &file.read()?, &provider)?,
        None => Arc::new(NoClientAuth),
    };
    let (certificate, challenge) = (Arc::<CertificateSlot>::default(), Arc::<CertificateSlot>::default());
    let config = finish(
        config_builder(Arc::clone(&provider), &transport.tls)?,
        verifier,
        certificate.clone(),
        &transport.tls,
    );
    let settings = Settings {
        domain,
        contact: acme.contact.clone(),
        directory_url: acme.directory_url.clone(),
        client: HttpsClient::new(client_config(acme, &provider)?),
        store,
        provider: Arc::clone(&provider),
        certificate,
        challenge: challenge.clone(),
    };
    let task: RenewalTask = Box::new(move |clock| Box::pin(AcmeWorker::new(settings, clock, Random::system()).run()));
    Ok(TlsContext {
        current: Arc::new(ArcSwap::new(config)),
        challenge: Some(challenge_config(&provider, challenge)?),
        renewal: Renewal::Task(Arc::new(Mutex::new(Some(task)))),
    })
}

fn challenge_config(
    provider: &Arc<CryptoProvider>,
    challenge: Arc<CertificateSlot>,
) -> Result<Arc<ServerConfig>, AcmeError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(challenge);
    config.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Trusts the configured CA, or else the public ones, for the ACME server.
fn client_config(acme: &AcmeConfig, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, TlsContextError> {
    let roots = match &acme.root_ca_path {
        None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let file = TlsFile {
                key: "transport.acme.root_ca_path",
                path: path.clone(),
            };
            ca_bundle(&file, &file.read()?)?
        }
    };
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(AcmeError::from)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
