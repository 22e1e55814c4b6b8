use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::webhook::{KeyError, KeyRing, Seed};

const NOW: u64 = 1_700_000_000;
const BODY: &[u8] = br#"{"wake_id":"w_1"}"#;
/// Of the seeds of 32 bytes 1 and 2, by Node.js.
const KID_1: &str = "ds_UDDReOZl1ipXAfp9wYsm13sDBMK5og--QWdBjzuf6o4";
const KID_2: &str = "ds_aVBtapLd11SUVKIMGJfPzOEDuN0sXcmzJQNVT-_sKEU";
const SIGNATURE_1: &str = "NeITIj1VQj_QecaBNlSlsUQ_XGdrnRWR6WMUklNmFKhk7ki5ozlj_scAJnOfbc7uN36vcdko0itduAO-9vksBg";
const DAY: Duration = Duration::from_secs(86_400);

fn maintained(ring: &KeyRing, now: u64, seed: u8) -> Option<KeyRing> {
    ring.maintained(now, Some(DAY), || Ok(Seed::fixed(seed))).unwrap()
}

fn first() -> KeyRing {
    maintained(&KeyRing::default(), NOW, 1).unwrap()
}

fn published(ring: &KeyRing, now: u64) -> Vec<String> {
    let jwks: Value = serde_json::from_slice(&ring.jwks(now)).unwrap();
    let kids = jwks["keys"].as_array().unwrap().iter();
    kids.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn signatures_and_names_are_those_of_another_implementation() {
    let ring = first();
    assert_eq!(
        ring.signature_header(NOW, BODY).unwrap(),
        format!("t={NOW},kid={KID_1},ed25519={SIGNATURE_1}")
    );
    assert_eq!(
        serde_json::from_slice::<Value>(&ring.jwks(NOW)).unwrap(),
        serde_json::json!({ "keys": [{
            "kty": "OKP",
            "crv": "Ed25519",
            "kid": KID_1,
            "use": "sig",
            "alg": "EdDSA",
            "x": "iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w",
        }] })
    );
}

#[test]
fn generated_keys_differ_and_verify() {
    let generate = || {
        KeyRing::default()
            .maintained(NOW, None, Seed::generate)
            .unwrap()
            .unwrap()
    };
    let (one, other) = (generate(), generate());
    assert_ne!(one, other);
    let header = one.signature_header(NOW, BODY).unwrap();
    let signature = URL_SAFE_NO_PAD
        .decode(header.rsplit_once("ed25519=").unwrap().1)
        .unwrap();
    let jwks: Value = serde_json::from_slice(&one.jwks(NOW)).unwrap();
    let key = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
    let signed = [format!("{NOW}.").as_bytes(), BODY].concat();
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&signed, &signature)
        .unwrap();
}

#[test]
fn the_stored_form_is_pinned() {
    let ring = maintained(&first(), NOW + 86_400, 2).unwrap();
    let stored = concat!(
        r#"{"version":1,"keys":["#,
        r#"{"seed":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE","signs_from":1700000000},"#,
        r#"{"seed":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI","signs_from":1700087000}]}"#,
    );
    assert_eq!(serde_json::to_string(&ring).unwrap(), stored);
    assert_eq!(serde_json::from_str::<KeyRing>(stored).unwrap(), ring);
}

#[test]
fn a_damaged_or_later_form_is_refused() {
    for stored in [
        r#"{"version":2,"keys":[]}"#,
        r#"{"version":1,"keys":[{"seed":"AQ","signs_from":1}]}"#,
        r#"{"version":1,"keys":[{"seed":"!","signs_from":1}]}"#,
        r#"{"version":1}"#,
        "",
    ] {
        assert!(serde_json::from_str::<KeyRing>(stored).is_err(), "{stored}");
    }
}

#[test]
fn a_key_is_published_before_it_signs_and_after_its_last_signature() {
    let one = first();
    let rotates = NOW + 86_400;
    assert_eq!(maintained(&one, rotates - 1, 2), None);
    let two = maintained(&one, rotates, 2).unwrap();
    // Receivers learn of the new key while the old one signs.
    assert_eq!(published(&two, rotates), [KID_1, KID_2]);
    for (now, kid) in [(rotates, KID_1), (rotates + 599, KID_1), (rotates + 600, KID_2)] {
        assert_eq!(two.kid(now), Some(kid));
        assert!(two.signature_header(now, BODY).unwrap().contains(kid));
    }
    let withdrawn = rotates + 600 + 3600;
    assert_eq!(published(&two, withdrawn - 1), [KID_1, KID_2]);
    assert_eq!(published(&two, withdrawn), [KID_2]);
    // The ring forgets it, too.
    assert_eq!(maintained(&two, withdrawn - 1, 3), None);
    let forgot = maintained(&two, withdrawn, 3).unwrap();
    assert_eq!(forgot.kid(withdrawn), Some(KID_2));
    assert!(!serde_json::to_string(&forgot).unwrap().contains("AQEB"));
    assert_eq!(maintained(&forgot, withdrawn, 3), None);
}

#[test]
fn no_rotation_keeps_one_key_for_ever() {
    let ring = first();
    let kept = ring.maintained(u64::MAX, None, || panic!("no key is due")).unwrap();
    assert_eq!(kept, None);
}

#[test]
fn a_server_that_was_off_for_years_adds_one_key() {
    let ring = maintained(&first(), NOW + 1000 * 86_400, 2).unwrap();
    assert_eq!(published(&ring, NOW + 1000 * 86_400), [KID_1, KID_2]);
    assert_eq!(ring.kid(NOW + 1000 * 86_400), Some(KID_1));
}

#[test]
fn a_clock_that_was_set_back_still_signs() {
    let ring = maintained(&first(), NOW + 86_400, 2).unwrap();
    assert_eq!(ring.kid(5), Some(KID_1));
    assert_eq!(published(&ring, 5), [KID_1, KID_2]);
    assert_eq!(maintained(&ring, 5, 3), None);
}

#[test]
fn an_empty_ring_signs_nothing() {
    let ring = KeyRing::default();
    assert!(matches!(ring.signature_header(NOW, BODY), Err(KeyError::Missing)));
    assert_eq!((ring.kid(NOW), &ring.jwks(NOW)[..]), (None, &br#"{"keys":[]}"#[..]));
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {:?}", first(), Seed::fixed(7));
    assert!(
        !shown.contains("AQEB") && !shown.contains("1, 1") && !shown.contains("7, 7"),
        "{shown}"
    );
    assert!(shown.contains(KID_1));
}
