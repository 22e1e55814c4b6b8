//! The state of automatic HTTPS across restarts: the account, the certificate, and the time of
//! the next permitted request to the ACME server.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{clock, private_files};

/// Let's Encrypt allows five failed validations of a name in an hour: one every 12 minutes.
const FIRST_BACKOFF: Duration = Duration::from_secs(12 * 60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(12 * 3600);
/// Let's Encrypt allows five certificates for the same name in a week.
const BETWEEN_CERTIFICATES: Duration = Duration::from_secs(7 * 86_400 / 5);

/// The files of one domain at one ACME server.
#[derive(Debug, Clone)]
pub(super) struct Store {
    dir: PathBuf,
    suffix: String,
}

/// When the ACME server may be asked again. Written before each validation, so that a server
/// that crashes and starts again does not use up the limits either.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pace {
    /// Validations that failed since the last certificate.
    pub(super) failures: u32,
    /// In seconds since the Unix epoch.
    pub(super) not_before: u64,
}

impl Pace {
    /// The pace to keep if the validation that begins now fails.
    pub(super) fn after_failure(&self, now: u64) -> Self {
        let factor = 1_u32 << self.failures.min(10);
        let backoff = FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF);
        Self {
            failures: self.failures.saturating_add(1),
            not_before: now.saturating_add(backoff.as_secs()),
        }
    }

    /// The pace to keep after a certificate with a lifetime of `lifetime` seconds was issued.
    pub(super) fn after_success(now: u64, lifetime: u64) -> Self {
        Self {
            failures: 0,
            not_before: now.saturating_add(BETWEEN_CERTIFICATES.as_secs().min(lifetime / 2)),
        }
    }

    /// How long there is to wait. A clock that was set back does not make it longer.
    pub(super) fn wait(&self, now: u64) -> Duration {
        let longest = LONGEST_BACKOFF.max(BETWEEN_CERTIFICATES).as_secs();
        Duration::from_secs(self.not_before.saturating_sub(now).min(longest))
    }
}

impl Store {
    pub(super) fn open(dir: &Path, directory_url: &str, domain: &str) -> io::Result<Self> {
        private_files::create_dir_all(dir)?;
        let hash = digest(&SHA256, format!("{directory_url}\n{domain}").as_bytes());
        let suffix = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            dir: dir.to_owned(),
            suffix,
        })
    }

    fn path(&self, what: &str, end: &str) -> PathBuf {
        self.dir.join(format!("{what}-{}.{end}", self.suffix))
    }

    /// The certificate's chain and its private key, in PEM.
    pub(super) fn certificate(&self) -> Option<String> {
        fs::read_to_string(self.path("certificate", "pem")).ok()
    }

    pub(super) async fn keep_certificate(&self, pem: String) -> io::Result<()> {
        self.replace("certificate", "pem", pem.into_bytes()).await
    }

    pub(super) fn account<T: DeserializeOwned>(&self) -> Option<T> {
        self.read_json("account")
    }

    pub(super) async fn keep_account(&self, account: &impl Serialize) -> io::Result<()> {
        self.replace("account", "json", serde_json::to_vec(account)?).await
    }

    /// Forgets the account that the ACME server does not know.
    pub(super) fn forget_account(&self) {
        _ = private_files::remove_left_over(&self.path("account", "json"));
    }

    pub(super) fn pace(&self) -> Pace {
        self.read_json("pace").unwrap_or_default()
    }

    pub(super) async fn keep_pace(&self, pace: &Pace) -> io::Result<()> {
        self.replace("pace", "json", serde_json::to_vec(pace)?).await
    }

    fn read_json<T: DeserializeOwned>(&self, what: &str) -> Option<T> {
        let path = self.path(what, "json");
        let text = fs::read(&path).ok()?;
        let parsed = serde_json::from_slice(&text);
        if parsed.is_err() {
            tracing::warn!(path = %path.display(), "automatic HTTPS: this file is damaged and is made anew");
        }
        parsed.ok()
    }

    async fn replace(&self, what: &str, end: &str, content: Vec<u8>) -> io::Result<()> {
        let path = self.path(what, end);
        let written = tokio::task::spawn_blocking(move || private_files::replace(&path, &content));
        written.await.map_err(io::Error::other)?
    }
}

/// Now, in seconds.
pub(super) fn now() -> u64 {
    clock::now_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_stay_within_five_an_hour() {
        let (mut pace, mut now, mut times) = (Pace::default(), 1000, Vec::new());
        for _ in 0..20 {
            now += pace.wait(now).as_secs();
            times.push(now);
            pace = pace.after_failure(now);
        }
        for window in times.windows(6) {
            assert!(window[5] - window[0] >= 3600, "{times:?}");
        }
        assert_eq!(times[19] - times[18], 12 * 3600);
    }

    #[test]
    fn certificates_stay_within_five_a_week() {
        let week = 7 * 86_400;
        assert_eq!(Pace::after_success(0, 90 * 86_400).wait(0).as_secs() * 5, week);
        // Short-lived ones are renewed in time all the same.
        assert_eq!(Pace::after_success(0, 20).wait(0).as_secs(), 10);
        // The clock of a machine that starts may be years back.
        assert!(
            Pace {
                failures: 1,
                not_before: u64::MAX
            }
            .wait(0)
                <= LONGEST_BACKOFF.max(BETWEEN_CERTIFICATES)
        );
    }

    #[tokio::test]
    async fn what_is_kept_is_private_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let open = |domain: &str| Store::open(directory.path(), "https://acme.test/dir", domain).unwrap();
        let store = open("a.test");
        assert_eq!((store.pace(), store.certificate()), (Pace::default(), None));
        let pace = Pace::default().after_failure(100);
        store.keep_pace(&pace).await.unwrap();
        store.keep_certificate("pem".into()).await.unwrap();
        assert_eq!(
            (open("a.test").pace(), open("a.test").certificate()),
            (pace, Some("pem".into()))
        );
        assert_eq!(open("b.test").pace(), Pace::default());
        for file in fs::read_dir(directory.path()).unwrap() {
            let mode = std::os::unix::fs::PermissionsExt::mode(&file.unwrap().metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(store.path("pace", "json"), "{").unwrap();
        assert_eq!(store.pace(), Pace::default());
    }
}
