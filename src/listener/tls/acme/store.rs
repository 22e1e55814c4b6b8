//! The state of automatic HTTPS across restarts: the account, the certificate and the retry
//! schedule.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Serialize, de::DeserializeOwned};

use super::retry_schedule::RetrySchedule;
use crate::private_files;

/// The files of one domain at one ACME server.
#[derive(Debug, Clone)]
pub(super) struct AcmeStore {
    dir: PathBuf,
    suffix: String,
}

impl AcmeStore {
    pub(super) fn open(dir: &Path, directory_url: &str, domain: &str) -> io::Result<Self> {
        private_files::create_dir_all(dir)?;
        let hash = digest(&SHA256, format!("{directory_url}\n{domain}").as_bytes());
        let suffix = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            dir: dir.to_owned(),
            suffix,
        })
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{name}-{}.{extension}", self.suffix))
    }

    /// The certificate's chain and its private key, in PEM.
    pub(super) fn certificate(&self) -> Option<String> {
        fs::read_to_string(self.path("certificate", "pem")).ok()
    }

    pub(super) async fn save_certificate(&self, pem: String) -> io::Result<()> {
        self.replace("certificate", "pem", pem.into_bytes()).await
    }

    pub(super) fn account<T: DeserializeOwned>(&self) -> Option<T> {
        self.read_json("account")
    }

    pub(super) async fn save_account(&self, account: &impl Serialize) -> io::Result<()> {
        self.replace("account", "json", serde_json::to_vec(account)?).await
    }

    /// For an account that the ACME server does not know.
    pub(super) fn delete_account(&self) {
        _ = private_files::remove_left_over(&self.path("account", "json"));
    }

    pub(super) fn schedule(&self) -> RetrySchedule {
        self.read_json("pace").unwrap_or_default()
    }

    pub(super) async fn save_schedule(&self, schedule: &RetrySchedule) -> io::Result<()> {
        self.replace("pace", "json", serde_json::to_vec(schedule)?).await
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.path(name, "json");
        let text = fs::read(&path).ok()?;
        let parsed = serde_json::from_slice(&text);
        if parsed.is_err() {
            tracing::warn!(path = %path.display(), "automatic HTTPS: this file is damaged and will be replaced");
        }
        parsed.ok()
    }

    async fn replace(&self, name: &str, extension: &str, content: Vec<u8>) -> io::Result<()> {
        let path = self.path(name, extension);
        let written = tokio::task::spawn_blocking(move || private_files::replace(&path, &content));
        written.await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn saved_state_is_private_and_survives_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let open = |domain: &str| AcmeStore::open(directory.path(), "https://acme.test/dir", domain).unwrap();
        let store = open("a.test");
        assert_eq!(
            (store.schedule(), store.certificate()),
            (RetrySchedule::default(), None)
        );
        let schedule = RetrySchedule::default().after_failure(100);
        store.save_schedule(&schedule).await.unwrap();
        store.save_certificate("pem".into()).await.unwrap();
        assert_eq!(
            (open("a.test").schedule(), open("a.test").certificate()),
            (schedule, Some("pem".into()))
        );
        assert_eq!(open("b.test").schedule(), RetrySchedule::default());
        for file in fs::read_dir(directory.path()).unwrap() {
            let mode = std::os::unix::fs::PermissionsExt::mode(&file.unwrap().metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(store.path("pace", "json"), "{").unwrap();
        assert_eq!(store.schedule(), RetrySchedule::default());
    }
}
