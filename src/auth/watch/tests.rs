//! Changed key files, and what becomes of the keys.

use std::{fs, path::PathBuf, time::Duration};

use tokio::time::sleep;

use super::*;
use crate::{
    auth::AuthConfig,
    auth::TokenError,
    clock::Clock,
    file_watcher::Check,
    test_support::tokens::{Issuer, STREAM, client},
};

struct Setup {
    path: PathBuf,
    authenticator: Arc<Authenticator>,
    _directory: tempfile::TempDir,
}

impl Setup {
    fn new(issuer: &Issuer) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("verify_key.pem");
        fs::write(&path, issuer.public_pem()).unwrap();
        let authenticator = Authenticator::load(
            &AuthConfig {
                verify_key: path.clone(),
                ..AuthConfig::default()
            },
            Clock::system(),
        )
        .unwrap();
        Self {
            path,
            authenticator,
            _directory: directory,
        }
    }

    fn holds(&self, issuer: &Issuer) -> bool {
        let token = issuer.token(&client(Clock::system().secs(), STREAM, &["read"]));
        self.authenticator.verify(&token).is_ok()
    }
}

#[tokio::test(start_paused = true)]
async fn new_keys_replace_old_ones_and_what_they_had_verified() {
    let (old, new) = (Issuer::new(1), Issuer::new(2));
    let setup = Setup::new(&old);
    let mut watcher = KeyReloader::watcher(&setup.authenticator);
    let token = old.token(&client(Clock::system().secs(), STREAM, &["read"]));
    assert!(setup.authenticator.verify(&token).is_ok());
    assert_eq!(setup.authenticator.remembered(), 1);

    assert_eq!(watcher.check().await, Check::Unchanged);
    fs::write(&setup.path, new.public_pem()).unwrap();
    assert_eq!(watcher.check().await, Check::Changed(Change::Replaced));
    assert_eq!(setup.authenticator.remembered(), 0);
    assert_eq!(setup.authenticator.verify(&token).err(), Some(TokenError::Signature));
    assert!(setup.holds(&new));
}

#[tokio::test(start_paused = true)]
async fn a_token_verified_while_the_keys_change_is_not_remembered_under_the_new_ones() {
    let (old, new) = (Issuer::new(1), Issuer::new(2));
    let setup = Setup::new(&old);
    let mut watcher = KeyReloader::watcher(&setup.authenticator);
    // What `verify_at` holds on to between checking and remembering.
    let during = setup.authenticator.current.load_full();
    fs::write(&setup.path, new.public_pem()).unwrap();
    assert_eq!(watcher.check().await, Check::Changed(Change::Replaced));
    let principal = crate::auth::Principal::Server { name: None };
    let verified = crate::auth::Verified::new(principal, u64::MAX);
    during.cache.insert("late", Arc::new(verified));
    assert!(setup.authenticator.verify("late").is_err());
}

#[tokio::test(start_paused = true)]
async fn a_broken_file_keeps_the_old_keys_and_is_reported_once() {
    let old = Issuer::new(1);
    let setup = Setup::new(&old);
    let mut watcher = KeyReloader::watcher(&setup.authenticator);
    for broken in ["", "garbage", &old.private_pem()] {
        fs::write(&setup.path, broken).unwrap();
        assert_eq!(watcher.check().await, Check::Changed(Change::Kept), "{broken}");
        assert_eq!(watcher.check().await, Check::Unchanged);
        assert!(setup.holds(&old));
    }
    fs::remove_file(&setup.path).unwrap();
    assert_eq!(watcher.check().await, Check::Changed(Change::Kept));
    assert_eq!(watcher.check().await, Check::Unchanged);
    fs::write(&setup.path, old.public_pem()).unwrap();
    assert_eq!(watcher.check().await, Check::Changed(Change::SameKeys));
    assert!(setup.authenticator.remembered() > 0, "the same keys forget nothing");
}

#[tokio::test(start_paused = true)]
async fn the_watch_picks_up_changes_and_ends_with_the_authenticator() {
    let (old, new) = (Issuer::new(1), Issuer::new(2));
    let setup = Setup::new(&old);
    let watch = tokio::spawn(Arc::clone(&setup.authenticator).watch());
    fs::write(&setup.path, old.public_pem() + &new.public_pem()).unwrap();
    while !(setup.holds(&old) && setup.holds(&new)) {
        sleep(Duration::from_secs(1)).await;
    }
    fs::write(&setup.path, new.public_pem()).unwrap();
    setup.authenticator.reload();
    while setup.holds(&old) {
        sleep(Duration::from_millis(10)).await;
    }
    drop(setup);
    watch.await.unwrap();
}

/// A directory of keys, and what its files become: the kids that count then.
#[tokio::test(start_paused = true)]
async fn a_directory_keeps_what_is_there_and_withdraws_what_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(directory.path().join(name), content).unwrap();
    let remove = |name: &str| fs::remove_file(directory.path().join(name)).unwrap();
    let (one, two) = (Issuer::new(1), Issuer::new(2));
    write("one.pem", &one.public_pem());
    write("two.pem", &two.public_pem());
    let authenticator = Authenticator::load(
        &AuthConfig {
            verify_key: directory.path().to_owned(),
            ..AuthConfig::default()
        },
        Clock::system(),
    )
    .unwrap();
    let mut watcher = KeyReloader::watcher(&authenticator);
    let claims = client(Clock::system().secs(), STREAM, &["read"]);
    let verified = authenticator.verify(&two.token_with_kid("two", &claims)).unwrap();
    let kept = authenticator.verify(&one.token_with_kid("one", &claims)).unwrap();
    let kids = || authenticator.with_keys(|keys| keys.keys().map(|key| key.kid().to_owned()).collect::<Vec<_>>());

    write("one.pem", "half a k");
    assert_eq!(watcher.check().await, Check::Changed(Change::Kept));
    assert_eq!(kids().len(), 2);
    // A private key by mistake: no new key, and the other one is still withdrawn.
    write("three.pem", &Issuer::new(3).private_pem());
    remove("two.pem");
    assert_eq!(watcher.check().await, Check::Changed(Change::Replaced));
    assert_eq!(kids(), ["one"]);
    assert!(verified.key_withdrawn().is_sent() && !kept.key_withdrawn().is_sent());
    // The key of a file that is broken stays the same one when the file is mended.
    write("one.pem", &one.public_pem());
    assert_eq!(watcher.check().await, Check::Changed(Change::Kept));
    assert!(!kept.key_withdrawn().is_sent());
    write("one.pem", &Issuer::new(4).public_pem());
    assert_eq!(watcher.check().await, Check::Changed(Change::Replaced));
    assert!(kept.key_withdrawn().is_sent());

    remove("one.pem");
    remove("three.pem");
    assert_eq!(watcher.check().await, Check::Changed(Change::Replaced));
    assert!(authenticator.has_no_keys());
    let refused = authenticator.verify(&one.token_with_kid("one", &claims));
    assert_eq!(refused.err(), Some(TokenError::NoKeys));
    write("one.pem", &one.public_pem());
    assert_eq!(watcher.check().await, Check::Changed(Change::Replaced));
    assert!(authenticator.verify(&one.token_with_kid("one", &claims)).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_jwks_withdraws_what_it_no_longer_holds() {
    let jwks = |members: &[serde_json::Value]| serde_json::json!({"keys": members}).to_string();
    let member = |seed: u8| {
        let mut jwk = Issuer::new(seed).jwk();
        jwk["kid"] = seed.to_string().into();
        jwk
    };
    let odd = serde_json::json!({"kid": "x"});
    for (after, count) in [
        (jwks(&[member(1), odd.clone()]), 1),
        (jwks(&[member(3)]), 1),
        (jwks(&[]), 0),
        (jwks(&[odd]), 0),
        ("{\"keys\": [".to_owned(), 2),
        ("{}".to_owned(), 2),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("jwks.json");
        fs::write(&path, jwks(&[member(1), member(2)])).unwrap();
        let authenticator = Authenticator::load(
            &AuthConfig {
                verify_key: path.clone(),
                ..AuthConfig::default()
            },
            Clock::system(),
        )
        .unwrap();
        let mut watcher = KeyReloader::watcher(&authenticator);
        fs::write(&path, &after).unwrap();
        watcher.check().await;
        assert_eq!(authenticator.with_keys(|keys| keys.keys().len()), count, "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mounted_secret_is_swapped_by_its_symlink() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (old, new) = (Issuer::new(1), Issuer::new(2));
    for (data, issuer) in [("..1", &old), ("..2", &new)] {
        fs::create_dir(at(data)).unwrap();
        fs::write(at(data).join("main.pem"), issuer.public_pem()).unwrap();
    }
    std::os::unix::fs::symlink("..1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/main.pem", at("main.pem")).unwrap();
    let authenticator = Authenticator::load(
        &AuthConfig {
            verify_key: directory.path().to_owned(),
            ..AuthConfig::default()
        },
        Clock::system(),
    )
    .unwrap();
    let mut watcher = KeyReloader::watcher(&authenticator);
    std::os::unix::fs::symlink("..2", at("..new")).unwrap();
    fs::rename(at("..new"), at("..data")).unwrap();
    assert_eq!(watcher.check().await, Check::Changed(Change::Replaced));
    let holds = |issuer: &Issuer| {
        let token = issuer.token(&client(Clock::system().secs(), STREAM, &["read"]));
        authenticator.verify(&token).is_ok()
    };
    assert!(holds(&new) && !holds(&old));
}
