use std::time::Instant;

use super::*;
use crate::test_support::tokens::{STREAM, Signatory, client};

fn authenticator(signatory: &Signatory, cache_size: usize) -> Arc<Authenticator> {
    let directory = tempfile::tempdir().unwrap();
    let verify_key = directory.path().join("verify_key.pem");
    std::fs::write(&verify_key, signatory.public_pem()).unwrap();
    Authenticator::load(&AuthConfig {
        verify_key,
        cache_size,
        ..AuthConfig::default()
    })
    .unwrap()
}

#[test]
fn a_remembered_token_is_the_same_and_ends_when_it_expires() {
    let signatory = Signatory::new(1);
    let authenticator = authenticator(&signatory, 10);
    let token = signatory.token(&client(1000, STREAM, &["read"]));
    let first = authenticator.verify_at(&token, 1000).unwrap();
    let second = authenticator.verify_at(&token, 1904).unwrap();
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(authenticator.verify_at(&token, 1905), Err(TokenError::Expired));
    assert_eq!(authenticator.remembered(), 0);
    assert_eq!(authenticator.verify_at(&token, 1905), Err(TokenError::Expired));
}

#[test]
fn what_does_not_verify_is_not_remembered() {
    let authenticator = authenticator(&Signatory::new(1), 10);
    let token = Signatory::new(2).token(&client(1000, STREAM, &["read"]));
    assert_eq!(authenticator.verify_at(&token, 1000), Err(TokenError::Signature));
    assert_eq!(authenticator.remembered(), 0);
}

#[test]
fn the_first_token_that_verifies_counts() {
    let signatory = Signatory::new(1);
    let authenticator = authenticator(&signatory, 10);
    let now = clock::now_secs();
    let good = signatory.token(&client(now, STREAM, &["read"]));
    let old = signatory.token(&client(now - 5000, STREAM, &["read"]));
    assert!(authenticator.verify_first(&[&old, &good], None).is_ok());
    assert_eq!(
        authenticator.verify_first(&[old.as_str(), "x"], None),
        Err(Unverified::Bad(TokenError::Expired))
    );
    assert_eq!(authenticator.verify_first::<&str>(&[], None), Err(Unverified::NoToken));
}

#[test]
fn an_address_whose_tokens_fail_is_slowed_down_and_remembered_tokens_count_all_the_same() {
    let signatory = Signatory::new(1);
    let authenticator = authenticator(&signatory, 10);
    let claims = client(clock::now_secs(), STREAM, &["read"]);
    let stranger = Signatory::new(2);
    let ask = |token: &str, client: &str| authenticator.verify_first(&[token], Some(client.parse().unwrap()));
    let forged = |number: u32| stranger.token_with_kid(&number.to_string(), &claims);
    let throttled = |result| matches!(result, Err(Unverified::Throttled(_)));
    let good = signatory.token(&claims);
    assert!(ask(&good, "192.0.2.1").is_ok());
    // The same one again costs nothing.
    for _ in 0..1000 {
        assert_eq!(
            ask(&forged(0), "192.0.2.1"),
            Err(Unverified::Bad(TokenError::Signature))
        );
    }
    let refused = (1..)
        .take_while(|number| !throttled(ask(&forged(*number), "192.0.2.1")))
        .count();
    assert!((238..=250).contains(&refused), "{refused}");
    assert!(ask(&good, "192.0.2.1").is_ok());
    let fresh = signatory.token_with_kid("fresh", &claims);
    assert!(throttled(ask(&fresh, "192.0.2.1")));
    assert!(ask(&fresh, "192.0.2.2").is_ok());
    // A token that needs no signature check is answered as before.
    assert!(matches!(
        ask("x", "192.0.2.1"),
        Err(Unverified::Bad(TokenError::Malformed(_)))
    ));
    // A remembered one in the second place counts although the first is not looked at.
    let both = [forged(9999), good];
    assert!(
        authenticator
            .verify_first(&both, Some("192.0.2.1".parse().unwrap()))
            .is_ok()
    );
}

#[test]
fn good_tokens_are_never_slowed_down() {
    let signatory = Signatory::new(1);
    let authenticator = authenticator(&signatory, 0);
    let claims = client(clock::now_secs(), STREAM, &["read"]);
    for number in 0..300 {
        let token = signatory.token_with_kid(&number.to_string(), &claims);
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
    let load = |config: AuthConfig| Authenticator::load(&config).unwrap_err().to_string();
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
fn a_token_that_is_not_valid_yet_is_looked_at_again() {
    let signatory = Signatory::new(1);
    let authenticator = authenticator(&signatory, 10);
    let token = signatory.token(&client(1000, STREAM, &["read"]));
    assert_eq!(authenticator.verify_at(&token, 900), Err(TokenError::IssuedInFuture));
    assert!(authenticator.verify_at(&token, 1000).is_ok());
}

#[test]
fn a_token_that_is_refused_over_and_over_waits() {
    let signatory = Signatory::new(1);
    let authenticator = authenticator(&signatory, 10);
    let holder = |stream: &str| {
        let token = signatory.token(&client(clock::now_secs(), stream, &["read"]));
        authenticator.verify(&token).unwrap()
    };
    let (one, other) = (holder("a"), holder("b"));
    let refused = (0..).take_while(|_| authenticator.count_refusal(&one).is_ok()).count();
    assert!((240..=250).contains(&refused), "{refused}");
    assert!(authenticator.count_refusal(&other).is_ok());
    // The token is the same one the next time.
    assert!(authenticator.count_refusal(&holder("a")).is_err());
}

/// `cargo test --release --lib -- --ignored --nocapture cost_of_a_check`
#[test]
#[ignore = "a measurement, not a check"]
#[allow(clippy::disallowed_methods)]
fn cost_of_a_check() {
    let signatory = Signatory::new(1);
    let claims = client(clock::now_secs(), STREAM, &["read"]);
    let bare = authenticator(&signatory, 0);
    let token = signatory.token(&claims);
    let parsed = token::Token::parse(&token).unwrap();
    let start = Instant::now();
    for _ in 0..5000 {
        bare.with_keys(|keys| parsed.signer(keys).map(|_| ())).unwrap();
    }
    println!("the signature alone: {:?}", start.elapsed() / 5000);
    for (what, size, rounds) in [("fresh", 0, 5_000_u32), ("remembered", 10_000, 2_000_000)] {
        let authenticator = authenticator(&signatory, size);
        let tokens: Vec<_> = (0..1000)
            .map(|number| signatory.token_with_kid(&number.to_string(), &claims))
            .collect();
        for token in &tokens {
            authenticator.verify(token).unwrap();
        }
        let start = Instant::now();
        for round in 0..rounds {
            authenticator.verify(&tokens[round as usize % tokens.len()]).unwrap();
        }
        println!(
            "{what}: {:?} a token of {} bytes",
            start.elapsed() / rounds,
            tokens[0].len()
        );
    }
}

#[test]
fn another_library_signs_what_we_verify_and_the_other_way_round() {
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
    let signatory = Signatory::new(1);
    let claims = client(clock::now_secs(), STREAM, &["read"]);
    let key = EncodingKey::from_ec_pem(signatory.private_pem().as_bytes()).unwrap();
    let token = encode(&Header::new(Algorithm::ES256), &claims, &key).unwrap();
    assert!(authenticator(&signatory, 10).verify(&token).is_ok());

    let key = DecodingKey::from_ec_pem(signatory.public_pem().as_bytes()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_aud = false;
    let decoded = decode::<serde_json::Value>(signatory.token(&claims).as_str(), &key, &validation).unwrap();
    assert_eq!(decoded.claims, claims);
}
