use std::{fs, path::PathBuf};

use super::*;
use crate::{
    auth::TokenError,
    clock,
    config::AuthConfig,
    test_support::tokens::{STREAM, Signatory, client},
};

struct Setup {
    path: PathBuf,
    authenticator: Arc<Authenticator>,
    _directory: tempfile::TempDir,
}

impl Setup {
    fn new(signatory: &Signatory) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verify_key.pem");
        fs::write(&path, signatory.public_pem()).unwrap();
        let authenticator = Authenticator::load(&AuthConfig {
            verify_key: path.clone(),
            ..AuthConfig::default()
        })
        .unwrap();
        Self {
            path,
            authenticator,
            _directory: directory,
        }
    }

    fn holds(&self, signatory: &Signatory) -> bool {
        let token = signatory.token(&client(clock::now_secs(), STREAM, &["read"]));
        self.authenticator.verify(&token).is_ok()
    }
}

#[tokio::test]
async fn new_keys_replace_old_ones_and_what_they_had_verified() {
    let (old, new) = (Signatory::new(1), Signatory::new(2));
    let setup = Setup::new(&old);
    let mut watcher = Watcher::new(&setup.authenticator);
    let token = old.token(&client(clock::now_secs(), STREAM, &["read"]));
    assert!(setup.authenticator.verify(&token).is_ok());
    assert_eq!(setup.authenticator.remembered(), 1);

    assert_eq!(watcher.apply(watcher.read().await.unwrap()), Change::None);
    fs::write(&setup.path, new.public_pem()).unwrap();
    assert_eq!(watcher.apply(watcher.read().await.unwrap()), Change::Replaced);
    assert_eq!(setup.authenticator.remembered(), 0);
    assert_eq!(setup.authenticator.verify(&token).err(), Some(TokenError::Signature));
    assert!(setup.holds(&new));
}

#[tokio::test]
async fn a_token_verified_while_the_keys_change_is_not_remembered_under_the_new_ones() {
    let (old, new) = (Signatory::new(1), Signatory::new(2));
    let setup = Setup::new(&old);
    let mut watcher = Watcher::new(&setup.authenticator);
    // What `verify_at` holds on to between checking and remembering.
    let during = setup.authenticator.current.load_full();
    fs::write(&setup.path, new.public_pem()).unwrap();
    assert_eq!(watcher.apply(watcher.read().await.unwrap()), Change::Replaced);
    let principal = crate::auth::Principal::Server { name: None };
    let verified = crate::auth::Verified::new(principal, u64::MAX);
    during.cache.insert("late", Arc::new(verified));
    assert!(setup.authenticator.verify("late").is_err());
}

#[tokio::test]
async fn a_broken_file_keeps_the_old_keys_and_is_reported_once() {
    let old = Signatory::new(1);
    let setup = Setup::new(&old);
    let mut watcher = Watcher::new(&setup.authenticator);
    for broken in ["", "garbage", &old.private_pem()] {
        fs::write(&setup.path, broken).unwrap();
        assert_eq!(watcher.apply(watcher.read().await.unwrap()), Change::Kept, "{broken}");
        assert_eq!(watcher.apply(watcher.read().await.unwrap()), Change::None);
        assert!(setup.holds(&old));
    }
    fs::remove_file(&setup.path).unwrap();
    assert_eq!(watcher.apply(watcher.read().await.unwrap()), Change::Kept);
    assert_eq!(watcher.apply(watcher.read().await.unwrap()), Change::None);
    fs::write(&setup.path, old.public_pem()).unwrap();
    assert_eq!(watcher.apply(watcher.read().await.unwrap()), Change::SameKeys);
    assert!(setup.authenticator.remembered() > 0, "the same keys forget nothing");
}

#[tokio::test]
async fn the_watch_picks_up_a_change_by_itself() {
    let (old, new) = (Signatory::new(1), Signatory::new(2));
    let setup = Setup::new(&old);
    let watch = Arc::clone(&setup.authenticator).watch_every(Duration::from_millis(5), Duration::from_millis(1));
    let watch = tokio::spawn(watch);
    fs::write(&setup.path, old.public_pem() + &new.public_pem()).unwrap();
    let both = async {
        while !(setup.holds(&old) && setup.holds(&new)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    watch.abort();
}
