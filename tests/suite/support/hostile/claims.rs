//! Tokens that are signed and say something wrong.

use serde_json::{Value, json};

use super::{
    super::tokens::{AUDIENCE, ISSUER, STREAM, server, with},
    Expect, Table,
};

impl Table {
    pub(super) fn good(&mut self) {
        let (now, sign) = (self.now, self.signatory.clone());
        let good: [(&str, Value); 10] = [
            ("a reader", self.reader()),
            ("a server", server(now)),
            ("a server without a name", with(server(now), "server", json!(true))),
            (
                "a list of audiences",
                with(self.reader(), "aud", json!(["other", AUDIENCE])),
            ),
            (
                "a fraction of a second",
                with(self.reader(), "exp", json!(now as f64 + 60.5)),
            ),
            ("expired within the leeway", with(self.reader(), "exp", json!(now - 1))),
            ("nbf within the leeway", with(self.reader(), "nbf", json!(now + 3))),
            ("no iat", with(self.reader(), "iat", None)),
            ("unknown claims", with(self.reader(), "extra", json!({"a": [1, null]}))),
            (
                "unknown permissions beside known ones",
                with(self.reader(), "permissions", json!(["admin", "read"])),
            ),
        ];
        for (why, claims) in good {
            self.read(why, &sign.token(&claims), Expect::Passes);
        }
        let claims = self.reader().to_string();
        self.read("no typ", &sign.sign(r#"{"alg":"ES256"}"#, &claims), Expect::Passes);
        self.read(
            "an unknown kid with one key",
            &sign.token_with_kid("nobody", &self.reader()),
            Expect::Passes,
        );
    }

    pub(super) fn claims(&mut self) {
        let (now, sign) = (self.now, self.signatory.clone());
        let spoilt: Vec<(&str, Vec<Option<Value>>)> = vec![
            (
                "exp",
                vec![
                    None,
                    Some(json!(null)),
                    Some(json!((now + 60).to_string())),
                    Some(json!(true)),
                    Some(json!([now + 60])),
                    Some(json!(now - 6)),
                    Some(json!(now - 3600)),
                    Some(json!(0)),
                    Some(json!(-1)),
                    Some(json!(-1e300)),
                    Some(json!(1e300)),
                    Some(json!(u64::MAX)),
                    Some(json!(i64::MAX)),
                    Some(json!(i64::MIN)),
                    Some(json!((now + 60) * 1000)),
                ],
            ),
            (
                "nbf",
                vec![
                    Some(json!(now + 60)),
                    Some(json!(1e300)),
                    Some(json!(null)),
                    Some(json!("0")),
                    Some(json!(u64::MAX)),
                ],
            ),
            (
                "iat",
                vec![
                    Some(json!(now + 60)),
                    Some(json!((now) * 1000)),
                    Some(json!(null)),
                    Some(json!("0")),
                ],
            ),
            (
                "iss",
                vec![
                    None,
                    Some(json!(null)),
                    Some(json!("")),
                    Some(json!(ISSUER.to_uppercase())),
                    Some(json!(format!("{ISSUER}/"))),
                    Some(json!([ISSUER])),
                    Some(json!(format!(" {ISSUER}"))),
                    Some(json!(7)),
                ],
            ),
            (
                "aud",
                vec![
                    None,
                    Some(json!(null)),
                    Some(json!("")),
                    Some(json!([])),
                    Some(json!(AUDIENCE.to_uppercase())),
                    Some(json!(format!("{AUDIENCE}/"))),
                    Some(json!(["other"])),
                    Some(json!([AUDIENCE, 7])),
                    Some(json!([[AUDIENCE]])),
                    Some(json!({"aud": AUDIENCE})),
                    Some(json!(format!("{AUDIENCE} other"))),
                    Some(json!(true)),
                ],
            ),
            (
                "stream",
                vec![
                    None,
                    Some(json!(null)),
                    Some(json!("")),
                    Some(json!([STREAM])),
                    Some(json!(7)),
                    Some(json!(true)),
                    Some(json!("..")),
                    Some(json!("a/../b")),
                    Some(json!("a\u{0}b")),
                    Some(json!("a\nb")),
                    Some(json!("__ds")),
                    Some(json!("__ds/subscriptions/x")),
                    Some(json!("x".repeat(1025))),
                ],
            ),
            (
                "server",
                vec![
                    Some(json!(true)),
                    Some(json!("rails")),
                    Some(json!(false)),
                    Some(json!(null)),
                    Some(json!("")),
                ],
            ),
            (
                "permissions",
                vec![
                    Some(json!("read")),
                    Some(json!(null)),
                    Some(json!(["read", 1])),
                    Some(json!({"read": true})),
                ],
            ),
            ("identity", vec![Some(json!(7)), Some(json!(null)), Some(json!(["7"]))]),
        ];
        for (claim, values) in spoilt {
            for value in values {
                let why = format!(
                    "{claim}: {:.60}",
                    value.as_ref().map_or("absent".into(), Value::to_string)
                );
                self.refuse(&why, &sign.token(&with(self.reader(), claim, value)));
            }
        }
        for value in [
            json!(false),
            json!(null),
            json!(""),
            json!(1),
            json!(["rails"]),
            json!({}),
            json!("x"),
        ] {
            let expect = if value == json!("x") {
                Expect::Passes
            } else {
                Expect::Unauthorized
            };
            self.read(
                &format!("server: {value}"),
                &sign.token(&with(server(now), "server", value)),
                expect,
            );
        }
        for value in [
            None,
            Some(json!([])),
            Some(json!(["Read", "READ", " read", "*", "admin", "read,write"])),
        ] {
            let token = sign.token(&with(self.reader(), "permissions", value));
            self.read("no known permission", &token, Expect::Forbidden);
        }
    }
}
