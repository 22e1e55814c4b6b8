//! Forged tokens: other keys, other algorithms, keys in the header.

use aws_lc_rs::hmac;
use serde_json::json;

use super::{
    super::tokens::{Issuer, encode, server},
    Expect, Table,
};

impl Table {
    pub(super) fn forged(&mut self) {
        self.other_keys();
        self.other_algorithms();
        self.keys_in_the_header();
        self.invalid_signatures();
    }

    fn other_keys(&mut self) {
        let (sign, stranger) = (self.issuer.clone(), Issuer::new(99));
        let claims = self.reader();
        let text = claims.to_string();
        let good = sign.token(&claims);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let header = signed.split_once('.').unwrap().0;

        self.refuse("another key", &stranger.token(&claims));
        self.refuse(
            "another key under our kid",
            &stranger.token_with_kid("verify_key", &claims),
        );
        let raised = encode(server(self.now).to_string());
        self.refuse("claims of another token", &format!("{header}.{raised}.{signature}"));
        let other_header = encode(r#"{"alg":"ES256","kid":"x"}"#);
        self.refuse(
            "header of another token",
            &format!("{other_header}.{}.{signature}", encode(&text)),
        );
    }

    fn other_algorithms(&mut self) {
        let (sign, text) = (self.issuer.clone(), self.reader().to_string());
        for alg in [
            "none", "None", "NONE", "", "HS256", "HS512", "RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA",
            "es256", "ES256 ",
        ] {
            let header = json!({"alg": alg}).to_string();
            self.refuse(&format!("alg {alg:?}, signed with our key"), &sign.sign(&header, &text));
            let unsigned = format!("{}.{}.", encode(&header), encode(&text));
            self.refuse(&format!("alg {alg:?}, no signature"), &unsigned);
        }
        for secret in [sign.public_pem(), sign.public_pem().trim().to_owned()] {
            let signed = format!("{}.{}", encode(r#"{"alg":"HS256","typ":"JWT"}"#), encode(&text));
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            let tag = hmac::sign(&key, signed.as_bytes());
            self.refuse(
                "HS256 with the public key as its secret",
                &format!("{signed}.{}", encode(tag)),
            );
        }
        for alg in [json!(null), json!(["ES256"]), json!(256), json!({"alg": "ES256"})] {
            self.refuse(
                "alg of a wrong type",
                &sign.sign(&json!({"alg": alg}).to_string(), &text),
            );
        }
        self.refuse("no alg", &sign.sign(r#"{"typ":"JWT"}"#, &text));
    }

    fn keys_in_the_header(&mut self) {
        let (sign, stranger) = (self.issuer.clone(), Issuer::new(99));
        let text = self.reader().to_string();
        let injected = json!({"alg": "ES256", "jwk": stranger.jwk(), "kid": "mine"});
        self.refuse(
            "a key in the header (jwk)",
            &stranger.sign(&injected.to_string(), &text),
        );
        for (member, value) in [
            ("jku", json!("http://127.0.0.1:1/jwks.json")),
            ("x5u", json!("http://127.0.0.1:1/cert.pem")),
            ("x5c", json!(["MIIB"])),
            ("kid", json!("../../../../dev/null")),
            ("kid", json!("' OR 1=1 --")),
        ] {
            let header = json!({"alg": "ES256", member: value}).to_string();
            self.refuse(
                &format!("{member} in the header, another key"),
                &stranger.sign(&header, &text),
            );
            self.read(
                &format!("{member} in the header, our key"),
                &sign.sign(&header, &text),
                Expect::Passes,
            );
        }
        for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!(null), json!("b64")] {
            let header = json!({"alg": "ES256", "crit": crit, "b64": false}).to_string();
            self.refuse("crit", &sign.sign(&header, &text));
        }
    }

    fn invalid_signatures(&mut self) {
        let (sign, text) = (self.issuer.clone(), self.reader().to_string());
        let good = sign.token(&self.reader());
        let (signed, _) = good.rsplit_once('.').unwrap();
        for (why, bytes) in [
            ("r and s are 0", vec![0; 64]),
            ("r and s are the largest", vec![0xff; 64]),
            ("63 bytes", vec![1; 63]),
            ("65 bytes", vec![1; 65]),
            ("96 bytes, as of ES384", vec![1; 96]),
            ("256 bytes, as of RS256", vec![1; 256]),
            ("none", vec![]),
        ] {
            self.refuse(&format!("signature: {why}"), &format!("{signed}.{}", encode(bytes)));
        }
        self.refuse("signature in DER", &sign.sign_in_der(r#"{"alg":"ES256"}"#, &text));
    }
}
