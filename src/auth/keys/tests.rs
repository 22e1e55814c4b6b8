use std::{
    fs,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{key_set::KeySet, verify_key::VerifyKey};
use crate::auth::token::{Token, TokenError};
use crate::test_support::tokens::{Issuer, STREAM, client};

fn write(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn load(content: impl AsRef<[u8]>) -> Result<KeySet, String> {
    let directory = tempfile::tempdir().unwrap();
    KeySet::load(&write(&directory, "key", content)).map_err(|error| error.to_string())
}

fn kids(set: &KeySet) -> Vec<&str> {
    set.keys().map(VerifyKey::kid).collect()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

/// A SubjectPublicKeyInfo whose algorithm is `algorithm` (DER of the sequence's content).
fn spki(algorithm: &[u8], key: &[u8]) -> String {
    let wrap = |tag: u8, content: &[u8]| {
        let mut der = vec![tag, 0x81, u8::try_from(content.len()).unwrap()];
        if content.len() < 128 {
            der.remove(1);
        }
        der.extend_from_slice(content);
        der
    };
    let bits = [&[0], key].concat();
    let inner = [wrap(0x30, algorithm), wrap(0x03, &bits)].concat();
    pem("PUBLIC KEY", &wrap(0x30, &inner))
}

const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ON_P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const ON_P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

#[test]
fn the_thumbprint_is_that_of_rfc_7638() {
    // The P-256 key of RFC 7517 appendix A.1, thumbprint as other implementations compute it.
    let jwk = json!({
        "kty": "EC", "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    });
    let set = load(json!({"keys": [jwk]}).to_string()).unwrap();
    assert_eq!(kids(&set), ["cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s"]);
}

#[test]
fn a_pem_file_may_hold_several_keys_and_text_around_them() {
    let (one, two) = (Issuer::new(1), Issuer::new(2));
    let text = format!(
        "\u{feff}old key\r\n{}\r\n\r\nnew key\r\n{}trailer",
        one.public_pem().replace('\n', "\r\n"),
        two.public_pem()
    );
    let set = load(text).unwrap();
    assert_eq!(set.keys().len(), 2);
    for key in set.keys() {
        assert_eq!(key.kid(), key.thumbprint());
    }
}

#[test]
fn a_directory_names_its_keys_by_file() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "2024.pem", Issuer::new(1).public_pem());
    write(&directory, "2025.01.pem", Issuer::new(2).public_pem());
    write(&directory, "2025.key", Issuer::new(2).private_pem());
    write(&directory, ".2026.pem", "not looked at");
    write(&directory, "README", "not looked at");
    fs::create_dir(directory.path().join("old.pem")).unwrap();
    let set = KeySet::load(directory.path()).unwrap();
    assert_eq!(kids(&set), ["2024", "2025.01"]);
}

#[test]
fn a_jwks_gives_its_usable_keys() {
    let with = |issuer: u8, extra: Value| {
        let mut jwk = Issuer::new(issuer).jwk();
        jwk.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        jwk
    };
    let jwks = json!({"keys": [
        with(1, json!({"kid": "a", "use": "sig", "alg": "ES256", "key_ops": ["verify"]})),
        with(2, json!({})),
        with(3, json!({"kid": "enc", "use": "enc"})),
        with(3, json!({"kid": "ecdh", "alg": "ECDH-ES"})),
        with(3, json!({"kid": "ops", "key_ops": ["sign"]})),
        with(3, json!({"kid": "crv", "crv": "P-384"})),
        {"kty": "RSA", "kid": "rsa", "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "k": "AAAA"},
    ]});
    let set = load(jwks.to_string()).unwrap();
    assert_eq!(set.keys().len(), 2);
    assert_eq!(set.keys[0].kid(), "a");
    assert_eq!(set.keys[1].kid(), set.keys[1].thumbprint());
    let notes: Vec<_> = set.notes().collect();
    assert_eq!(notes.len(), 6, "{notes:?}");
    let first = r#"key 3 (kid "enc") is left out: its use"#;
    assert!(notes[0].contains(first), "{notes:?}");
}

#[test]
fn an_unusable_file_is_named_with_the_remedy() {
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let good = Issuer::new(1);
    let mut private_jwk = good.jwk();
    private_jwk["d"] = json!("AAAA");
    let mut off_curve = good.jwk();
    off_curve["y"] = off_curve["x"].clone();
    let mut padded = good.jwk();
    padded["x"] = json!(format!("{}=", padded["x"].as_str().unwrap()));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "the file is empty"),
        (b" \n\n".to_vec(), "the file is empty"),
        (vec![0x30, 0x59, 0xff, 0xfe], "neither PEM"),
        (b"ecdsa-sha2-nistp256 AAAA".to_vec(), "neither PEM"),
        (good.private_pem().into(), "this is a private key (PRIVATE KEY)"),
        (
            (good.public_pem() + &good.private_pem()).into(),
            "this is a private key (PRIVATE KEY)",
        ),
        (pem("EC PRIVATE KEY", b"x").into(), "-pubout -out verify_key.pem"),
        (pem("ENCRYPTED PRIVATE KEY", b"x").into(), "this is a private key"),
        (pem("EC PARAMETERS", b"x").into(), "this is a private key"),
        (pem("CERTIFICATE", b"x").into(), "openssl x509 -in cert.pem -pubkey"),
        (pem("RSA PUBLIC KEY", b"x").into(), "an RSA public key"),
        (pem("PGP MESSAGE", b"x").into(), "a PEM block PGP MESSAGE"),
        (pem("PUBLIC KEY", b"x").into(), "does not hold a public key"),
        (spki(RSA, b"x").into(), "an RSA public key"),
        (spki(ED25519, ed.public_key().as_ref()).into(), "an Ed25519 public key"),
        (
            spki(&[EC, ON_P384].concat(), p384.public_key().as_ref()).into(),
            "an EC P-384 public key",
        ),
        (spki(&[EC, ON_P256].concat(), &[4; 65]).into(), "not on P-256"),
        (spki(&[EC, ON_P256].concat(), &[0]).into(), "not on P-256"),
        (spki(EC, &[4; 65]).into(), "does not name its curve"),
        (
            good.public_pem().replace("-----END", "-----").into(),
            "no matching END line",
        ),
        (good.public_pem().replace('M', "!").into(), "not base64"),
        (b"{}".to_vec(), "not a JWKS"),
        (b"[]".to_vec(), "not a JWKS"),
        (b"{\"keys\": [".to_vec(), "the JSON is broken in line 1"),
        (good.jwk().to_string().into(), "not a JWKS"),
        (json!({"keys": []}).to_string().into(), "its `keys` are empty"),
        (
            json!({"keys": [{"kty": "oct"}]}).to_string().into(),
            "holds no EC P-256 signing key: key 1 is left out",
        ),
        (json!({"keys": [private_jwk]}).to_string().into(), "member `d`"),
        (json!({"keys": [off_curve]}).to_string().into(), "not on P-256"),
        (json!({"keys": [padded]}).to_string().into(), "not on P-256"),
    ];
    for (content, expected) in cases {
        let error = load(&content).unwrap_err();
        let shown = String::from_utf8_lossy(&content).into_owned();
        assert!(error.contains("/key: ") && error.contains(expected), "{shown}\n{error}");
    }
}

#[test]
fn missing_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = |path: &Path| KeySet::load(path).unwrap_err().to_string();
    assert!(error(Path::new("")).contains("auth.verify_key is not set"));
    assert!(error(&directory.path().join("none.pem")).contains("none.pem: No such file"));
    assert!(error(directory.path()).contains("holds no *.pem file"));
    let large = write(&directory, "large", vec![b'\n'; 1024 * 1024 + 1]);
    assert!(error(&large).contains("larger than 1 MiB"));
    write(&directory, "bad.pem", Issuer::new(1).private_pem());
    assert!(error(directory.path()).contains("bad.pem: this is a private key"));
}

#[test]
fn kid_selects_among_several_keys() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (Issuer::new(1), Issuer::new(2));
    write(&directory, "one.pem", one.public_pem());
    write(&directory, "two.pem", two.public_pem());
    let set = KeySet::load(directory.path()).unwrap();
    let claims = client(100, STREAM, &["read"]);
    let verify = |token: String| {
        let verified = Token::parse(&token).unwrap().verify(&set, &Default::default(), 100);
        verified.map(|_| ())
    };
    assert_eq!(verify(one.token_with_kid("one", &claims)), Ok(()));
    assert_eq!(verify(two.token_with_kid("two", &claims)), Ok(()));
    assert_eq!(verify(two.token_with_kid("one", &claims)), Err(TokenError::Signature));
    assert_eq!(
        verify(one.token_with_kid("other", &claims)),
        Err(TokenError::UnknownKey)
    );
    assert_eq!(verify(one.token_with_kid("ONE", &claims)), Err(TokenError::UnknownKey));
    assert_eq!(verify(one.token_with_kid("", &claims)), Err(TokenError::UnknownKey));
    // Without a kid every key is tried.
    assert_eq!(verify(two.token(&claims)), Ok(()));
    assert_eq!(verify(Issuer::new(3).token(&claims)), Err(TokenError::Signature));
}

#[test]
fn a_token_is_checked_against_a_few_keys_at_most() {
    let claims = client(100, STREAM, &["read"]);
    let pems =
        |seeds: std::ops::RangeInclusive<u8>| seeds.map(|seed| Issuer::new(seed).public_pem()).collect::<String>();
    let checks = |set: &KeySet, token: String| Token::parse(&token).unwrap().signer(set).map(|_| ());
    let tried = |set: &KeySet, kid: Option<&str>| set.for_kid(kid).map(|keys| keys.len());

    let four = load(pems(1..=4)).unwrap();
    assert_eq!(tried(&four, None), Ok(4));
    assert_eq!(checks(&four, Issuer::new(4).token(&claims)), Ok(()));
    assert_eq!(tried(&four, Some("unknown")), Err(TokenError::UnknownKey));

    let twenty = load(pems(1..=20)).unwrap();
    assert_eq!(
        checks(&twenty, Issuer::new(1).token(&claims)),
        Err(TokenError::KidMissing)
    );
    let kid = twenty.keys[19].kid().to_owned();
    assert_eq!(tried(&twenty, Some(&kid)), Ok(1));
    assert_eq!(checks(&twenty, Issuer::new(20).token_with_kid(&kid, &claims)), Ok(()));

    // Keys of one kid: at most as many as are tried, and each key once.
    let jwk = |seed: u8| {
        let mut jwk = Issuer::new(seed).jwk();
        jwk["kid"] = json!("same");
        jwk
    };
    let members: Vec<_> = [1, 1, 2, 3, 4, 5].into_iter().map(jwk).collect();
    let shared = load(json!({"keys": members}).to_string()).unwrap();
    assert_eq!(tried(&shared, Some("same")), Ok(4));
    let notes: Vec<_> = shared.notes().collect();
    assert!(
        notes[0].contains("listed twice") && notes[1].contains("already have this kid"),
        "{notes:?}"
    );
}

#[test]
fn an_unusable_member_is_left_out_and_the_others_count() {
    let good = Issuer::new(1);
    let mut private = Issuer::new(2).jwk();
    private["d"] = json!("c2VjcmV0");
    let mut off_curve = good.jwk();
    off_curve["y"] = off_curve["x"].clone();
    for (bad, why) in [
        (json!({"kid": "x"}), "is missing or has the wrong type"),
        (json!({"kty": 7}), "is missing or has the wrong type"),
        (
            json!({"kty": "EC", "crv": "P-256", "kid": ["x"]}),
            "is missing or has the wrong type",
        ),
        (json!("x"), "is missing or has the wrong type"),
        (json!(null), "is missing or has the wrong type"),
        (off_curve, "not on P-256"),
        (private, "this is a private key"),
    ] {
        let set = load(json!({"keys": [bad, good.jwk()]}).to_string()).unwrap();
        let notes: Vec<_> = set.notes().collect();
        assert_eq!((set.keys.len(), notes.len()), (1, 1), "{bad} {notes:?}");
        assert!(notes[0].contains(why) && !notes[0].contains("c2VjcmV0"), "{notes:?}");
    }
    let rsa = spki(RSA, b"x") + &good.public_pem();
    let set = load(rsa).unwrap();
    assert_eq!(set.keys.len(), 1);
    assert!(set.notes().next().unwrap().contains("an RSA public key"));
}

#[test]
fn an_unusable_file_of_a_directory_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "good.pem", Issuer::new(1).public_pem());
    write(&directory, "private.pem", Issuer::new(2).private_pem());
    write(&directory, "garbage.pem", "garbage");
    write(&directory, "large.pem", vec![b'\n'; 1024 * 1024 + 1]);
    write(&directory, "rsa.pem", spki(RSA, b"x"));
    std::os::unix::fs::symlink("nowhere", directory.path().join("dangling.pem")).unwrap();
    nix::unistd::mkfifo(&directory.path().join("pipe.pem"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let set = KeySet::load(directory.path()).unwrap();
    assert_eq!(kids(&set), ["good"]);
    let notes: Vec<_> = set.notes().collect();
    assert_eq!(notes.len(), 6, "{notes:?}");
    let private = Issuer::new(2).private_pem();
    let secret = private.lines().nth(1).unwrap();
    assert!(notes.iter().all(|note| !note.contains(secret)));
}
