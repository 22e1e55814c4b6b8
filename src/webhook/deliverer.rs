//! Deliveries to receivers.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Answer, DeliveryError, Resolve, Slot, TargetPolicy, WebhookUrl, WebhooksConfig, exchange::Exchange, slots::Slots,
    target::TargetHost,
};

/// Delivers requests to webhook receivers.
///
/// A host is resolved once for each delivery, and the address that the policy has checked is the one
/// that is connected to. Redirects are not followed, and proxies of the environment are not used.
pub struct Deliverer {
    policy: TargetPolicy,
    resolver: Arc<dyn Resolve>,
    tls: Arc<ClientConfig>,
    slots: Arc<Slots>,
    timeout: Duration,
    max_response_bytes: usize,
}

/// Why `webhooks.extra_ca_path` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DelivererError {
    /// The file cannot be read.
    #[error("webhooks.extra_ca_path: {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// It holds no certificate, or one that is malformed.
    #[error("webhooks.extra_ca_path: {} holds no valid certificate in PEM", .0.display())]
    Certificate(PathBuf),
    /// A defect of the TLS library's set-up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

impl Deliverer {
    /// # Errors
    /// [`DelivererError`] names the file and what is wrong with it.
    pub fn new(config: &WebhooksConfig, resolver: Arc<dyn Resolve>) -> Result<Self, DelivererError> {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(DelivererError::Tls)?
            .with_root_certificates(roots(config.extra_ca_path.as_deref())?)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            policy: TargetPolicy::new(config),
            resolver,
            tls: Arc::new(tls),
            slots: Slots::new(config),
            timeout: config.timeout(),
            max_response_bytes: config.max_response_bytes,
        })
    }

    /// Waits until a delivery to the host of `url` may begin.
    pub async fn slot(&self, url: &WebhookUrl) -> Slot {
        self.slots.acquire(url.host_text()).await
    }

    /// Sends `body` to `url` by POST, and waits for the receiver's answer. `slot` is for that host.
    ///
    /// A response that is cut off by the receiver, or that does not end in time, is a failure; one
    /// that is longer than `webhooks.max_response_bytes` is an acceptance.
    ///
    /// # Errors
    /// [`DeliveryError`]: the reason, for the log.
    pub async fn deliver(
        &self,
        slot: Slot,
        url: &WebhookUrl,
        body: Bytes,
        signature: &str,
    ) -> Result<Answer, DeliveryError> {
        let slot = Arc::new(slot.begin());
        let deadline = Instant::now() + self.timeout;
        let attempt = async {
            let resolved = self.resolve(url, &slot).await?;
            let addresses = self.policy.check_addresses(url, resolved)?;
            let exchange = Exchange {
                url,
                body,
                signature,
                tls: &self.tls,
                max_response_bytes: self.max_response_bytes,
                deadline,
            };
            exchange.run(&addresses).await
        };
        let answer = timeout_at(deadline, attempt).await;
        answer.unwrap_or(Err(DeliveryError::Timeout(self.timeout)))
    }

    /// The resolver's thread cannot be cancelled. It keeps the slot until it ends, so that the
    /// threads are as limited as the slots are.
    async fn resolve(&self, url: &WebhookUrl, slot: &Arc<Slot>) -> Result<Vec<IpAddr>, DeliveryError> {
        let name = match url.host() {
            TargetHost::Address(address) => return Ok(vec![*address]),
            TargetHost::Local(addresses) => return Ok(addresses.clone()),
            TargetHost::Name(name) => name.clone(),
        };
        let (resolution, slot) = (self.resolver.resolve(name), Arc::clone(slot));
        let task = tokio::spawn(async move {
            let resolved = resolution.await;
            drop(slot);
            resolved
        });
        let resolved = task
            .await
            .map_err(|error| DeliveryError::Resolve(Some(std::io::Error::other(error))))?;
        resolved.map_err(|error| DeliveryError::Resolve(Some(error)))
    }
}

/// The public CAs, and those of a file.
fn roots(extra: Option<&Path>) -> Result<RootCertStore, DelivererError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let Some(path) = extra else { return Ok(roots) };
    let pem = fs::read(path).map_err(|source| DelivererError::Read {
        path: path.to_owned(),
        source,
    })?;
    let malformed = || DelivererError::Certificate(path.to_owned());
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots
            .add(certificate.map_err(|_| malformed())?)
            .map_err(|_| malformed())?;
        found = true;
    }
    if found { Ok(roots) } else { Err(malformed()) }
}
