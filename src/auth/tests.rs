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
    assert!(authenticator.verify_first(&[&old, &good]).is_ok());
    assert_eq!(
        authenticator.verify_first(&[old.as_str(), "x"]),
        Err(Some(TokenError::Expired))
    );
    assert_eq!(authenticator.verify_first::<&str>(&[]), Err(None));
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
