//! Automatic HTTPS: certificates from an ACME server (RFC 8555), validated by TLS-ALPN-01
//! (RFC 8737) on the public listener itself.

mod certificate;
mod client;
mod store;

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::NoClientAuth,
};
use tokio::time::sleep;

use super::{
    context::{TlsContext, TlsContextError, builder, client_verifier, finish, roots},
    files::{Source, client_ca},
    handshake::ACME_TLS_ALPN,
};
use crate::{
    clock,
    listener::{AcmeConfig, TransportConfig},
};
use certificate::{Issued, Shown};
use client::Client;
use store::{Pace, Store, now};

/// How long the ACME server may take to validate, or to issue.
const POLLING: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));
/// The first wait for an ACME server that cannot be reached, and the longest.
const UNREACHABLE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The clock is looked at this often while there is nothing to do.
const LOOK: Duration = Duration::from_secs(3600);

/// What orders certificates and renews them, until somebody runs it.
#[derive(Clone)]
pub(super) struct Certification(Arc<Mutex<Option<Certifier>>>);

impl std::fmt::Debug for Certification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certification")
    }
}

struct Certifier {
    acme: AcmeConfig,
    domain: String,
    store: Store,
    client: Client,
    provider: Arc<CryptoProvider>,
    certificate: Arc<Shown>,
    challenge: Arc<Shown>,
}

/// Why no certificate came.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Nothing was said that counts against a limit: the server is asked again soon.
    #[error("{0}")]
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// The ACME server said no, or could not validate the name.
    #[error("{0}")]
    Refused(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(_) | Error::Timeout(_) | Error::Unsupported(_) | Error::Str(_) => Self::Refused(error),
            other => Self::Unreachable(Box::new(other)),
        }
    }
}

/// Automatic HTTPS for `transport.acme.domain`: the context serves right away, and handshakes
/// fail until the first certificate has come. A certificate is renewed when a third of its life
/// is left.
///
/// Account, certificate and the time of the next attempt are kept in `transport.acme.cache_dir`,
/// or else in `acme` under `data_dir`, which nobody but this user may read.
///
/// # Errors
/// [`TlsContextError`] when there is no domain, the files cannot be kept, or the directory's CA
/// or the client CA is of no use.
pub fn build_acme_context(transport: &TransportConfig, data_dir: &Path) -> Result<TlsContext, TlsContextError> {
    let acme = &transport.acme;
    let domain = acme
        .domain
        .clone()
        .ok_or_else(|| TlsContextError::Acme("domain is not set".into()))?;
    let dir = acme.cache_dir.clone().unwrap_or_else(|| data_dir.join("acme"));
    let store = Store::open(&dir, &acme.directory_url, &domain)
        .map_err(|error| TlsContextError::Acme(format!("cannot keep certificates in {}: {error}", dir.display())))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = match client_ca(transport)? {
        Some(source) => client_verifier(&source, &source.read()?, &provider)?,
        None => Arc::new(NoClientAuth),
    };
    let certifier = Certifier {
        acme: acme.clone(),
        domain,
        store,
        client: Client(trust(acme, &provider)?),
        provider: Arc::clone(&provider),
        certificate: Arc::default(),
        challenge: Arc::default(),
    };
    let config = finish(
        builder(Arc::clone(&provider), &transport.tls)?,
        verifier,
        certifier.certificate.clone(),
        &transport.tls,
    )?;
    Ok(TlsContext {
        current: Arc::new(ArcSwap::new(config)),
        challenge: Some(challenge_config(&provider, certifier.challenge.clone())?),
        origin: None,
        certification: Some(Certification(Arc::new(Mutex::new(Some(certifier))))),
    })
}

fn challenge_config(provider: &Arc<CryptoProvider>, shown: Arc<Shown>) -> Result<Arc<ServerConfig>, TlsContextError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsContextError::Acme(error.to_string()))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
    config.alpn_protocols = vec![ACME_TLS_ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Whom to believe that they are the ACME server.
fn trust(acme: &AcmeConfig, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, TlsContextError> {
    let roots = match &acme.root_ca_path {
        None => RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let source = Source {
                field: "transport.acme.root_ca_path",
                path: path.clone(),
            };
            roots(&source, &source.read()?)?
        }
    };
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsContextError::Acme(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Orders and renews as long as it runs.
pub(super) async fn keep_certified(certification: Certification) {
    let certifier = certification.0.lock().take();
    if let Some(certifier) = certifier {
        certifier.run().await;
    }
}

impl Certifier {
    async fn run(self) {
        let mut renew_at = match self.kept() {
            Some(issued) => {
                tracing::info!("the cached certificate is in use");
                self.show(issued)
            }
            None => 0,
        };
        let mut unreachable = UNREACHABLE.0;
        loop {
            self.wait(renew_at).await;
            match self.order().await {
                Ok(issued) => {
                    renew_at = self.show(issued);
                    unreachable = UNREACHABLE.0;
                    tracing::info!(domain = self.domain, "a new certificate has been issued and is in use");
                }
                Err(Failure::Unreachable(error)) => {
                    let wait = clock::jittered(unreachable);
                    unreachable = (unreachable * 2).min(UNREACHABLE.1);
                    tracing::error!(%error, retry_secs = wait.as_secs(), "automatic HTTPS: the ACME server cannot be asked");
                    sleep(wait).await;
                }
                Err(Failure::Refused(error)) => self.refused(&error).await,
            }
        }
    }

    /// Waits until a certificate is due and the ACME server may be asked.
    async fn wait(&self, renew_at: u64) {
        let mut said = false;
        loop {
            let pace = self.store.pace();
            let left = pace
                .wait(now())
                .max(Duration::from_secs(renew_at.saturating_sub(now())));
            if left.is_zero() {
                return;
            }
            if !said && pace.failures > 0 && renew_at <= now() {
                said = true;
                tracing::warn!(
                    failures = pace.failures,
                    wait_secs = left.as_secs(),
                    "automatic HTTPS waits before it asks again, to stay within the limits of the ACME server"
                );
            }
            sleep(left.min(LOOK)).await;
        }
    }

    async fn refused(&self, error: &Error) {
        if let Error::Api(problem) = error
            && problem
                .r#type
                .as_deref()
                .is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
        {
            self.store.forget_account();
        }
        // A refusal before the validation was not counted yet.
        let mut pace = self.store.pace();
        if pace.wait(now()).is_zero() {
            pace = pace.after_failure(now());
            self.keep_pace(&pace).await;
        }
        tracing::error!(
            %error,
            domain = self.domain,
            retry_secs = pace.wait(now()).as_secs(),
            "automatic HTTPS: no certificate; the domain must lead to this server's port 443 from the Internet"
        );
    }

    /// The certificate of an earlier run, if it can still be shown.
    fn kept(&self) -> Option<Issued> {
        let issued = Issued::parse(&self.store.certificate()?, &self.provider)?;
        (issued.not_after > now()).then_some(issued)
    }

    /// Serves a certificate; returns when to renew it.
    fn show(&self, issued: Issued) -> u64 {
        let renew_at = issued.renew_at();
        self.certificate.0.store(Some(issued.key));
        renew_at
    }

    async fn keep_pace(&self, pace: &Pace) {
        if let Err(error) = self.store.keep_pace(pace).await {
            tracing::error!(%error, "automatic HTTPS: the time of the next attempt could not be kept");
        }
    }

    async fn order(&self) -> Result<Issued, Failure> {
        let account = self.account().await?;
        let name = [Identifier::Dns(self.domain.clone())];
        let mut order = account.new_order(&NewOrder::new(&name)).await?;
        self.validate(&mut order).await?;
        if order.poll_ready(&POLLING).await? != OrderStatus::Ready {
            return Err(Error::Str("a validated order").into());
        }
        let ours = |error: rcgen::Error| Failure::Unreachable(Box::new(error));
        let (key, request) = certificate::request(&self.domain).map_err(ours)?;
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&POLLING).await?;
        let pem = format!("{}\n{}", chain.trim_end(), key.serialize_pem());
        let issued = Issued::parse(&pem, &self.provider).ok_or(Error::Str("a certificate that can be used"))?;
        self.keep_pace(&Pace::after_success(now(), issued.lifetime())).await;
        if let Err(error) = self.store.keep_certificate(pem).await {
            tracing::error!(%error, "automatic HTTPS: the certificate could not be kept; the next start orders another");
        }
        Ok(issued)
    }

    async fn account(&self) -> Result<Account, Failure> {
        let builder = Account::builder_with_http(Box::new(self.client.clone()));
        if let Some(credentials) = self.store.account::<AccountCredentials>() {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact: Vec<_> = self.acme.contact.iter().map(|mail| format!("mailto:{mail}")).collect();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder.create(&new, self.acme.directory_url.clone(), None).await?;
        if let Err(error) = self.store.keep_account(&credentials).await {
            tracing::error!(%error, "automatic HTTPS: the account could not be kept");
        }
        Ok(account)
    }

    /// Answers what the ACME server wants to see.
    async fn validate(&self, order: &mut Order) -> Result<(), Failure> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Valid => continue,
                _ => return Err(Error::Str("a pending authorization").into()),
            }
            let mut challenge = authorization
                .challenge(ChallengeType::TlsAlpn01)
                .ok_or(Error::Unsupported("tls-alpn-01"))?;
            let shown = certificate::challenge(&self.domain, &challenge.key_authorization(), &self.provider);
            self.challenge
                .0
                .store(Some(Arc::new(shown.map_err(Failure::Unreachable)?)));
            // Before it is looked at: a crash in between must not come for free.
            self.keep_pace(&self.store.pace().after_failure(now())).await;
            challenge.set_ready().await?;
        }
        Ok(())
    }
}
