use serde_json::{Value, json};

use super::*;
use crate::protocol::NameError;
use crate::test_support::tokens::{AUDIENCE, ISSUER, Issuer, STREAM, client, server, with};

const NOW: u64 = 1_800_000_000;

fn keys() -> KeySet {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("verify_key.pem");
    std::fs::write(&path, Issuer::new(1).public_pem()).unwrap();
    KeySet::load(&path).unwrap()
}

fn check(claims: &Value, config: &AuthConfig) -> Result<u64, TokenError> {
    let token = Issuer::new(1).token(claims);
    Token::parse(&token)?
        .verify(&keys(), config, NOW)
        .map(|verified| verified.expires_at())
}

fn strict() -> AuthConfig {
    AuthConfig {
        issuer: vec![ISSUER.into()],
        audience: vec![AUDIENCE.into()],
        leeway_secs: 5,
        ..AuthConfig::default()
    }
}

#[test]
fn each_refusal_names_its_reason() {
    let good = client(NOW, STREAM, &["read"]);
    let cases = [
        ("exp", None, TokenError::Missing("exp")),
        ("exp", Some(json!("1")), TokenError::WrongType("exp")),
        ("exp", Some(json!(NOW * 1000)), TokenError::NotATime("exp")),
        ("exp", Some(json!(NOW - 5)), TokenError::Expired),
        ("nbf", Some(json!(NOW + 6)), TokenError::NotYetValid),
        ("iat", Some(json!(NOW + 6)), TokenError::IssuedInFuture),
        ("iss", Some(json!("x")), TokenError::Issuer),
        ("iss", None, TokenError::Issuer),
        ("iss", Some(json!([ISSUER])), TokenError::WrongType("iss")),
        ("aud", Some(json!(["x"])), TokenError::Audience),
        ("aud", Some(json!(1)), TokenError::WrongType("aud")),
        ("server", Some(json!(true)), TokenError::BothKinds),
        ("stream", None, TokenError::NeitherKind),
        ("stream", Some(json!(1)), TokenError::WrongType("stream")),
        ("stream", Some(json!("__ds/x")), TokenError::Stream(NameError::Reserved)),
        ("permissions", Some(json!("read")), TokenError::WrongType("permissions")),
        ("identity", Some(json!(7)), TokenError::WrongType("identity")),
    ];
    for (claim, value, error) in cases {
        assert_eq!(
            check(&with(good.clone(), claim, value.clone()), &strict()),
            Err(error),
            "{claim}: {value:?}"
        );
    }
    assert_eq!(
        check(&with(server(NOW), "server", json!(false)), &strict()),
        Err(TokenError::Server)
    );
    assert_eq!(check(&good, &strict()), Ok(NOW + 905));
}

#[test]
fn the_leeway_is_exact_to_the_second() {
    let at = |claim, value: u64, leeway| {
        let config = AuthConfig {
            leeway_secs: leeway,
            ..strict()
        };
        check(&with(client(NOW, STREAM, &[]), claim, json!(value)), &config).is_ok()
    };
    assert!(at("exp", NOW + 1, 0) && !at("exp", NOW, 0));
    assert!(at("exp", NOW - 4, 5) && !at("exp", NOW - 5, 5));
    assert!(at("nbf", NOW + 5, 5) && !at("nbf", NOW + 6, 5));
    assert!(at("iat", NOW, 0) && !at("iat", NOW + 1, 0));
    assert!(at("exp", 1, u64::MAX));
}

#[test]
fn issuer_and_audience_count_only_when_configured() {
    let bare = with(with(client(NOW, STREAM, &["read"]), "iss", None), "aud", None);
    assert!(check(&bare, &AuthConfig::default()).is_ok());
    let either = AuthConfig {
        issuer: vec!["a".into(), "b".into()],
        audience: vec!["c".into(), "d".into()],
        leeway_secs: 0,
        ..AuthConfig::default()
    };
    let token = |iss: &str, aud: Value| with(with(bare.clone(), "iss", json!(iss)), "aud", aud);
    assert!(check(&token("b", json!("c")), &either).is_ok());
    assert!(check(&token("a", json!(["x", "d"])), &either).is_ok());
    assert_eq!(check(&token("c", json!("c")), &either), Err(TokenError::Issuer));
    assert_eq!(check(&token("a", json!(["x"])), &either), Err(TokenError::Audience));
}

#[test]
fn unsigned_claims_are_not_judged() {
    let token = Issuer::new(2).token(&json!({"exp": "nonsense"}));
    let token = Token::parse(&token).unwrap();
    assert_eq!(token.verify(&keys(), &strict(), NOW), Err(TokenError::Signature));
}
