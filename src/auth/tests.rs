use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    auth::AuthConfig,
    clock::Clock,
    test_support::tokens::{Issuer, STREAM, client},
};

/// The wall time at which each test begins, in seconds.
const NOW: u64 = 1000;

fn clock() -> Clock {
    Clock::manual(NOW * 1000)
}

fn authenticator(issuer: &Issuer, cache_size: usize, clock: &Clock) -> Arc<Authenticator> {
    let directory = tempfile::tempdir().unwrap();
    let verify_key = directory.path().join("verify_key.pem");
    std::fs::write(&verify_key, issuer.public_pem()).unwrap();
    let config = AuthConfig {
        verify_key,
        cache_size,
        ..AuthConfig::default()
    };
    Authenticator::load(&config, clock.clone()).unwrap()
}

#[test]
fn a_cached_token_is_the_same_and_ends_when_it_expires() {
    let (issuer, clock) = (Issuer::new(1), clock());
    let authenticator = authenticator(&issuer, 10, &clock);
    let token = issuer.token(&client(NOW, STREAM, &["read"]));
    let first = authenticator.verify(&token).unwrap();
    clock.advance(Duration::from_secs(904));
    let second = authenticator.verify(&token).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    clock.advance(Duration::from_secs(1));
    assert_eq!(authenticator.verify(&token), Err(TokenError::Expired));
    assert_eq!(authenticator.remembered(), 0);
    assert_eq!(authenticator.verify(&token), Err(TokenError::Expired));
}

#[test]
fn a_token_that_does_not_verify_is_not_cached() {
    let authenticator = authenticator(&Issuer::new(1), 10, &clock());
    let token = Issuer::new(2).token(&client(NOW, STREAM, &["read"]));
    assert_eq!(authenticator.verify(&token), Err(TokenError::Signature));
    assert_eq!(authenticator.remembered(), 0);
}

#[test]
fn the_first_token_that_verifies_counts() {
    let issuer = Issuer::new(1);
    let authenticator = authenticator(&issuer, 10, &clock());
    let good = issuer.token(&client(NOW, STREAM, &["read"]));
    let old = issuer.token(&client(NOW - 950, STREAM, &["read"]));
    assert!(authenticator.verify_first(&[&old, &good], None).is_ok());
    assert_eq!(
        authenticator.verify_first(&[old.as_str(), "x"], None),
        Err(Unverified::Bad(TokenError::Expired))
    );
    assert_eq!(authenticator.verify_first::<&str>(&[], None), Err(Unverified::NoToken));
}

#[test]
fn an_address_whose_tokens_fail_is_throttled_and_its_remembered_are_accepted() {
    let issuer = Issuer::new(1);
    let (authenticator, claims) = (authenticator(&issuer, 10, &clock()), client(NOW, STREAM, &["read"]));
    let stranger = Issuer::new(2);
    let ask = |token: &str, client: &str| authenticator.verify_first(&[token], Some(client.parse().unwrap()));
    let forged = |number: u32| stranger.token_with_kid(&number.to_string(), &claims);
    let throttled = |result| matches!(result, Err(Unverified::Throttled(_)));
    let good = issuer.token(&claims);
    assert!(ask(&good, "192.0.2.1").is_ok());
    // Repeating the same token costs nothing.
    for _ in 0..1000 {
        assert_eq!(
            ask(&forged(0), "192.0.2.1"),
            Err(Unverified::Bad(TokenError::Signature))
        );
    }
    let refused = (1..)
        .take_while(|number| !throttled(ask(&forged(*number), "192.0.2.1")))
        .count();
    assert_eq!(refused, 239);
    assert!(ask(&good, "192.0.2.1").is_ok());
    let fresh = issuer.token_with_kid("fresh", &claims);
    assert!(throttled(ask(&fresh, "192.0.2.1")));
    assert!(ask(&fresh, "192.0.2.2").is_ok());
    // A token that needs no signature check is answered as before.
    assert!(matches!(
        ask("x", "192.0.2.1"),
        Err(Unverified::Bad(TokenError::Malformed(_)))
    ));
    // A cached token in second place is accepted although the first is not checked.
    let both = [forged(9999), good];
    assert!(
        authenticator
            .verify_first(&both, Some("192.0.2.1".parse().unwrap()))
            .is_ok()
    );
}

#[test]
fn good_tokens_are_never_throttled() {
    let issuer = Issuer::new(1);
    let authenticator = authenticator(&issuer, 0, &clock());
    let claims = client(NOW, STREAM, &["read"]);
    for number in 0..300 {
        let token = issuer.token_with_kid(&number.to_string(), &claims);
        assert!(
            authenticator
                .verify_first(&[token], Some("192.0.2.1".parse().unwrap()))
                .is_ok()
        );
    }
}

/// An embedder's configuration does not come from files.
#[test]
fn an_empty_issuer_or_audience_is_refused() {
    let load = |config: AuthConfig| Authenticator::load(&config, clock()).unwrap_err().to_string();
    let issuer = vec!["https://a.test".into(), String::new()];
    let error = load(AuthConfig {
        issuer,
        ..AuthConfig::default()
    });
    assert_eq!(error, "auth.issuer has an empty entry; give it a value, or remove it");
    let audience = vec![" ".into()];
    assert!(
        load(AuthConfig {
            audience,
            ..AuthConfig::default()
        })
        .starts_with("auth.audience has")
    );
}

#[test]
fn a_token_that_is_not_valid_yet_is_checked_again() {
    let (issuer, clock) = (Issuer::new(1), clock());
    let authenticator = authenticator(&issuer, 10, &clock);
    let token = issuer.token(&client(NOW + 100, STREAM, &["read"]));
    assert_eq!(authenticator.verify(&token), Err(TokenError::IssuedInFuture));
    clock.advance(Duration::from_secs(100));
    assert!(authenticator.verify(&token).is_ok());
}

#[test]
fn a_token_that_is_refused_again_and_again_is_throttled() {
    let issuer = Issuer::new(1);
    let authenticator = authenticator(&issuer, 10, &clock());
    let holder = |stream: &str| {
        let token = issuer.token(&client(NOW, stream, &["read"]));
        authenticator.verify(&token).unwrap()
    };
    let (one, other) = (holder("a"), holder("b"));
    let refused = (0..).take_while(|_| authenticator.count_refusal(&one).is_ok()).count();
    assert_eq!(refused, 240);
    assert!(authenticator.count_refusal(&other).is_ok());
    // The cached token keeps its count.
    assert!(authenticator.count_refusal(&holder("a")).is_err());
}

#[test]
fn jsonwebtoken_signs_what_we_verify_and_verifies_what_others_sign() {
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
    let (issuer, clock) = (Issuer::new(1), Clock::system());
    let claims = client(clock.secs(), STREAM, &["read"]);
    let key = EncodingKey::from_ec_pem(issuer.private_pem().as_bytes()).unwrap();
    let token = encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
    assert!(authenticator(&issuer, 10, &clock).verify(&token).is_ok());

    let key = DecodingKey::from_ec_pem(issuer.public_pem().as_bytes()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_aud = false;
    let decoded = decode::<serde_json::Value>(issuer.token(&claims).as_str(), &key, &validation).unwrap();
    assert_eq!(decoded.claims, claims);
}
