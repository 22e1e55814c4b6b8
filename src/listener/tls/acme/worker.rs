//! The task that orders certificates and renews them.

use std::{sync::Arc, time::Duration};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rustls::crypto::CryptoProvider;
use tokio::time::sleep;

use super::{
    certificate::{self, CertificateSlot, IssuedCertificate},
    https_client::HttpsClient,
    retry_schedule::RetrySchedule,
    store::AcmeStore,
};
use crate::{clock::Clock, random::Random};

/// How long the ACME server may take to validate or to issue.
const POLL_POLICY: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));
/// Backoff while the ACME server cannot be reached.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(1);
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(300);
/// Longest sleep, because the wall clock may be set while waiting.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

pub(super) struct Settings {
    pub(super) domain: String,
    /// Mail addresses.
    pub(super) contact: Vec<String>,
    pub(super) directory_url: String,
    pub(super) client: HttpsClient,
    pub(super) store: AcmeStore,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) certificate: Arc<CertificateSlot>,
    pub(super) challenge: Arc<CertificateSlot>,
}

pub(super) struct AcmeWorker {
    settings: Settings,
    clock: Clock,
    random: Random,
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
enum OrderError {
    /// Nothing that counts against a limit has happened: retry soon.
    #[error("{0}")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The ACME server refused, or could not validate the domain.
    #[error("{0}")]
    Refused(#[source] Error),
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(_) | Error::Timeout(_) | Error::Unsupported(_) | Error::Str(_) => Self::Refused(error),
            other => Self::Unreachable(Box::new(other)),
        }
    }
}

impl AcmeWorker {
    pub(super) fn new(settings: Settings, clock: Clock, random: Random) -> Self {
        Self {
            settings,
            clock,
            random,
        }
    }

    /// Orders and renews until it is dropped.
    pub(super) async fn run(self) {
        let mut renew_at = match self.load_certificate() {
            Some(cached) => {
                tracing::info!("automatic HTTPS: using the cached certificate");
                self.install(cached)
            }
            None => 0,
        };
        let mut retry_interval = MIN_RETRY_INTERVAL;
        loop {
            self.wait_until_allowed(renew_at).await;
            match self.order().await {
                Ok(issued) => {
                    renew_at = self.install(issued);
                    retry_interval = MIN_RETRY_INTERVAL;
                    let domain = &self.settings.domain;
                    tracing::info!(
                        domain,
                        "automatic HTTPS: a new certificate has been issued and is in use"
                    );
                }
                Err(OrderError::Unreachable(error)) => {
                    let wait = self.random.jittered(retry_interval);
                    retry_interval = (retry_interval * 2).min(MAX_RETRY_INTERVAL);
                    tracing::error!(
                        %error,
                        retry_secs = wait.as_secs(),
                        "automatic HTTPS: the ACME server cannot be reached; retrying"
                    );
                    sleep(wait).await;
                }
                Err(OrderError::Refused(error)) => self.handle_refusal(&error).await,
            }
        }
    }

    fn now(&self) -> u64 {
        self.clock.secs()
    }

    /// Waits until a certificate is due and the retry schedule allows a request.
    async fn wait_until_allowed(&self, renew_at: u64) {
        let mut warned = false;
        loop {
            let (schedule, now) = (self.settings.store.schedule(), self.now());
            let left = schedule
                .wait(now)
                .max(Duration::from_secs(renew_at.saturating_sub(now)));
            if left.is_zero() {
                return;
            }
            if !warned && schedule.failures > 0 && renew_at <= now {
                warned = true;
                tracing::warn!(
                    failures = schedule.failures,
                    wait_secs = left.as_secs(),
                    "automatic HTTPS: waiting before the next attempt, to stay within the ACME server's limits"
                );
            }
            sleep(left.min(MAX_SLEEP)).await;
        }
    }

    async fn handle_refusal(&self, error: &Error) {
        let store = &self.settings.store;
        if let Error::Api(problem) = error
            && problem
                .r#type
                .as_deref()
                .is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
        {
            store.delete_account();
        }
        // A refusal before the validation has not been counted.
        let mut schedule = store.schedule();
        if schedule.wait(self.now()).is_zero() {
            schedule = schedule.after_failure(self.now());
            self.save_schedule(&schedule).await;
        }
        tracing::error!(
            %error,
            domain = self.settings.domain,
            retry_secs = schedule.wait(self.now()).as_secs(),
            "automatic HTTPS: no certificate; the domain must lead to this server's port 443 from the Internet"
        );
    }

    /// The certificate of an earlier run, unless it has expired.
    fn load_certificate(&self) -> Option<IssuedCertificate> {
        let settings = &self.settings;
        let cached = IssuedCertificate::parse(&settings.store.certificate()?, &settings.provider)?;
        (cached.not_after > self.now()).then_some(cached)
    }

    /// Puts a certificate in use; returns when to renew it.
    fn install(&self, issued: IssuedCertificate) -> u64 {
        let renew_at = issued.renew_at();
        self.settings.certificate.set(issued.key);
        renew_at
    }

    async fn save_schedule(&self, schedule: &RetrySchedule) {
        if let Err(error) = self.settings.store.save_schedule(schedule).await {
            tracing::error!(%error, "automatic HTTPS: the time of the next attempt could not be saved");
        }
    }

    async fn order(&self) -> Result<IssuedCertificate, OrderError> {
        let settings = &self.settings;
        let account = self.account().await?;
        let domain = [Identifier::Dns(settings.domain.clone())];
        let mut order = account.new_order(&NewOrder::new(&domain)).await?;
        self.validate(&mut order).await?;
        if order.poll_ready(&POLL_POLICY).await? != OrderStatus::Ready {
            return Err(Error::Str("a validated order").into());
        }
        let local_error = |error: rcgen::Error| OrderError::Unreachable(Box::new(error));
        let (key, request) = certificate::request(&settings.domain).map_err(local_error)?;
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&POLL_POLICY).await?;
        let pem = format!("{}\n{}", chain.trim_end(), key.serialize_pem());
        let issued =
            IssuedCertificate::parse(&pem, &settings.provider).ok_or(Error::Str("a certificate that can be used"))?;
        let schedule = RetrySchedule::after_success(self.now(), issued.lifetime());
        self.save_schedule(&schedule).await;
        if let Err(error) = settings.store.save_certificate(pem).await {
            tracing::error!(%error, "automatic HTTPS: the certificate could not be saved; the next start orders another");
        }
        Ok(issued)
    }

    async fn account(&self) -> Result<Account, OrderError> {
        let settings = &self.settings;
        let builder = Account::builder_with_http(Box::new(settings.client.clone()));
        if let Some(credentials) = settings.store.account::<AccountCredentials>() {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact: Vec<_> = settings.contact.iter().map(|mail| format!("mailto:{mail}")).collect();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder.create(&new, settings.directory_url.clone(), None).await?;
        if let Err(error) = settings.store.save_account(&credentials).await {
            tracing::error!(%error, "automatic HTTPS: the account could not be saved");
        }
        Ok(account)
    }

    /// Answers the challenges of an order.
    async fn validate(&self, order: &mut Order) -> Result<(), OrderError> {
        let settings = &self.settings;
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
            let answer = certificate::challenge(&settings.domain, &challenge.key_authorization(), &settings.provider)
                .map_err(OrderError::Unreachable)?;
            settings.challenge.set(Arc::new(answer));
            // Counted as a failure beforehand, so that a crash during the validation counts too.
            let schedule = settings.store.schedule().after_failure(self.now());
            self.save_schedule(&schedule).await;
            challenge.set_ready().await?;
        }
        Ok(())
    }
}
