//! Signed tokens with valid and invalid claims.

use serde_json::{Value, json};

use super::{
    super::tokens::{AUDIENCE, ISSUER, STREAM, server, with},
    Expect, Table,
};

impl Table {
    pub(super) fn good(&mut self) {
        let (now, sign) = (self.now, self.issuer.clone());
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
        for claim in ["exp", "iss", "aud", "stream"] {
            self.refuse_claim(claim, None);
        }
        self.times();
        self.issuers_and_audiences();
        self.principals();
        self.permissions();
    }

    fn times(&mut self) {
        let now = self.now;
        let in_a_minute = now + 60;
        self.refuse_claims(
            "exp",
            json!([
                null,
                in_a_minute.to_string(),
                true,
                [in_a_minute],
                now - 6,
                now - 3600,
                0,
                -1,
                -1e300,
                1e300,
                u64::MAX,
                i64::MAX,
                i64::MIN,
                in_a_minute * 1000
            ]),
        );
        self.refuse_claims("nbf", json!([in_a_minute, 1e300, null, "0", u64::MAX]));
        self.refuse_claims("iat", json!([in_a_minute, now * 1000, null, "0"]));
    }

    fn issuers_and_audiences(&mut self) {
        self.refuse_claims(
            "iss",
            json!([
                null,
                "",
                ISSUER.to_uppercase(),
                format!("{ISSUER}/"),
                [ISSUER],
                format!(" {ISSUER}"),
                7
            ]),
        );
        self.refuse_claims(
            "aud",
            json!([
                null,
                "",
                [],
                AUDIENCE.to_uppercase(),
                format!("{AUDIENCE}/"),
                ["other"],
                [AUDIENCE, 7],
                [[AUDIENCE]],
                {"aud": AUDIENCE},
                format!("{AUDIENCE} other"),
                true
            ]),
        );
    }

    fn principals(&mut self) {
        let stream = json!([
            null,
            "",
            [STREAM],
            7,
            true,
            "..",
            "a/../b",
            "a\u{0}b",
            "a\nb",
            "__ds",
            "__ds/subscriptions/x",
            "x".repeat(1025)
        ]);
        self.refuse_claims("stream", stream);
        // Together with the claim `stream`.
        self.refuse_claims("server", json!([true, "rails", false, null, ""]));
        self.refuse_claims("identity", json!([7, null, ["7"]]));
        let (now, sign) = (self.now, self.issuer.clone());
        for (value, expect) in [
            (json!(false), Expect::Unauthorized),
            (json!(null), Expect::Unauthorized),
            (json!(""), Expect::Unauthorized),
            (json!(1), Expect::Unauthorized),
            (json!(["rails"]), Expect::Unauthorized),
            (json!({}), Expect::Unauthorized),
            (json!("x"), Expect::Passes),
        ] {
            let why = format!("server: {value}");
            self.read(&why, &sign.token(&with(server(now), "server", value)), expect);
        }
    }

    fn permissions(&mut self) {
        self.refuse_claims("permissions", json!(["read", null, ["read", 1], {"read": true}]));
        let sign = self.issuer.clone();
        for value in [
            None,
            Some(json!([])),
            Some(json!(["Read", "READ", " read", "*", "admin", "read,write"])),
        ] {
            let token = sign.token(&with(self.reader(), "permissions", value));
            self.read("no known permission", &token, Expect::Forbidden);
        }
    }

    /// Reader tokens with each of these values for the claim.
    fn refuse_claims(&mut self, claim: &str, values: Value) {
        for value in values.as_array().unwrap() {
            self.refuse_claim(claim, Some(value.clone()));
        }
    }

    fn refuse_claim(&mut self, claim: &str, value: Option<Value>) {
        let shown = value.as_ref().map_or("absent".into(), Value::to_string);
        let token = self.issuer.token(&with(self.reader(), claim, value));
        self.refuse(&format!("{claim}: {shown:.60}"), &token);
    }
}
