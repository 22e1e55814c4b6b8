//! Requests with tokens good and bad, each with what it must get. The unit tests put them to the
//! gate; the suite puts them to a server.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::tokens::{AUDIENCE, ISSUER, STREAM, Signatory, client, encode, server, with};

/// What a request must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever the handler answers: neither 401 nor 403.
    Passes,
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
}

/// One request: a method, a target as it stands in the request line, headers.
#[derive(Debug, Clone)]
pub struct Case {
    pub why: String,
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub expect: Expect,
}

/// The table's maker: the server under test has `signatory`'s public key (and no other), checks
/// [`ISSUER`] and [`AUDIENCE`], has a leeway of 5 s and its streams below `base`.
pub struct Table {
    pub base: String,
    pub signatory: Signatory,
    pub now: u64,
    cases: Vec<Case>,
}

impl Table {
    pub fn new(base: &str, signatory: &Signatory, now: u64) -> Self {
        Self {
            base: base.to_owned(),
            signatory: signatory.clone(),
            now,
            cases: Vec::new(),
        }
    }

    /// Every case.
    pub fn cases(mut self) -> Vec<Case> {
        self.good();
        self.forged();
        self.malformed();
        self.claims();
        self.names();
        self.rules();
        self.places();
        self.cases
    }

    fn push(
        &mut self,
        why: &str,
        method: &'static str,
        target: String,
        headers: Vec<(&'static str, String)>,
        expect: Expect,
    ) {
        let why = why.to_owned();
        self.cases.push(Case {
            why,
            method,
            target,
            headers,
            expect,
        });
    }

    /// GET of the stream with this token in the header.
    fn read(&mut self, why: &str, token: &str, expect: Expect) {
        let target = format!("{}/{STREAM}", self.base);
        self.push(why, "GET", target, vec![bearer(token)], expect);
    }

    fn refuse(&mut self, why: &str, token: &str) {
        self.read(why, token, Expect::Unauthorized);
    }

    fn reader(&self) -> Value {
        client(self.now, STREAM, &["read"])
    }

    fn good(&mut self) {
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

    fn forged(&mut self) {
        let (sign, stranger) = (self.signatory.clone(), Signatory::new(99));
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

    fn malformed(&mut self) {
        let sign = self.signatory.clone();
        let good = sign.token(&self.reader());
        let parts: Vec<_> = good.split('.').map(str::to_owned).collect();
        let [header, claims, signature] = [&parts[0], &parts[1], &parts[2]];
        // The last character of 64 bytes in base64url has four bits that mean nothing.
        let last = signature.chars().last().unwrap();
        let twin = char::from(last as u8 + 1);
        for token in [
            String::new(),
            ".".into(),
            "..".into(),
            "...".into(),
            "x".into(),
            "null".into(),
            header.clone(),
            format!("{header}.{claims}"),
            format!("{header}.{claims}."),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.x"),
            format!("{header}..{signature}"),
            format!("{header}.{claims}..{signature}"),
            format!("{good}="),
            format!("{header}=.{claims}.{signature}"),
            format!("{header}.{claims}=.{signature}"),
            format!("{good} x"),
            format!("{header}. {claims}.{signature}"),
            format!("{header}.{claims}\t.{signature}"),
            format!("\"{good}\""),
            format!("{good},{good}"),
            format!("{header}.{claims}.{}{twin}", &signature[..signature.len() - 1]),
            format!("{header}.{claims}.{}", signature.to_uppercase()),
            "A".repeat(5000),
            format!("{}.{claims}.{signature}", encode([0xff, 0xfe])),
        ] {
            self.refuse(&format!("malformed: {:.40}", token), &token);
        }
        self.refuse(
            "longer than 8 KiB",
            &sign.token(&with(self.reader(), "pad", json!("x".repeat(7000)))),
        );

        let text = self.reader().to_string();
        for header in [
            "",
            "{}",
            "[]",
            "null",
            "\"ES256\"",
            "{\"alg\":\"ES256\"",
            "{\"alg\":\"ES256\"}x",
            "{\"alg\":\"ES256\"}{}",
            "{\"alg\":\"none\",\"alg\":\"ES256\"}",
            "{\"alg\":\"ES256\",\"alg\":\"ES256\"}",
            "{\"alg\":\"ES256\",\"kid\":\"a\",\"k\\u0069d\":\"b\"}",
            "{\"alg\":\"ES256\",\"kid\":7}",
            "{\"alg\":\"ES256\",\"kid\":null}",
            "{\"alg\":\"ES256\",\"typ\":[]}",
            "{'alg':'ES256'}",
            "\u{feff}{\"alg\":\"ES256\"}",
            "{\"ALG\":\"ES256\"}",
        ] {
            self.refuse(&format!("header {header:?}"), &sign.sign(header, &text));
        }
        let inside = text.trim_start_matches('{').trim_end_matches('}').to_owned();
        for claims in [
            String::new(),
            "null".into(),
            "[]".into(),
            format!("[{text}]"),
            format!("{text}{text}"),
            format!("{text},"),
            format!("{{{inside},\"stream\":\"other\"}}"),
            format!("{{{inside},\"permissions\":[\"write\"]}}"),
            format!("{{{inside},\"exp\":9999999999}}"),
            format!("{{{inside},\"e\\u0078p\":9999999999}}"),
            format!("{{{inside},\"a\":{{\"b\":1,\"b\":2}}}}"),
            format!("{{{inside},\"n\":1e999}}"),
            format!("{{{inside},\"n\":NaN}}"),
            format!("{{{inside},\"deep\":{}{}}}", "[".repeat(500), "]".repeat(500)),
            format!("{{{inside},\"lone\":\"\\ud800\"}}"),
        ] {
            self.refuse(
                &format!("claims {:.60}…", claims.replace(&inside, "…")),
                &sign.sign(r#"{"alg":"ES256"}"#, &claims),
            );
        }
    }

    fn claims(&mut self) {
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

    fn names(&mut self) {
        let reader = self.signatory.token(&self.reader());
        let server = self.signatory.token(&server(self.now));
        let ours = [
            "gid://app/Room/1/messages",
            "gid:%2F%2Fapp%2fRoom/1/messages",
            "gid:/app/Room/1/messages",
            "%67id://app/Room/1/messages",
        ];
        let others = [
            "gid://app/room/1/messages",
            "GID://app/Room/1/messages",
            "gid://app/Room/1/messages/",
            "gid://app/Room/1",
            "gid://app/Room/1/message",
            "gid://app/Room/1/messages2",
            "gid://app/Room/1/messages/x",
            "gid://app/Room/10/messages",
            "/gid://app/Room/1/messages",
            "gid:///app/Room/1/messages",
            "gid://app//Room/1/messages",
            "gid:%252F%252Fapp/Room/1/messages",
            "gid://app/Room/1/messages%20",
            "gid://app/Room/1/messages;x",
            "*",
            "gid:",
            "gid://app/R%D0%BEom/1/messages",
            "gid://app/Room/%EF%BC%91/messages",
            "gid://app/Room/1/m%C2%ADessages",
            "gid://app%5CRoom/1/messages",
        ];
        let no_names = [
            "",
            "gid://app/Room/2/../1/messages",
            "./gid://app/Room/1/messages",
            "gid://app/Room/%2e%2e/Room/1/messages",
            "gid://app/Room/1/messages%00",
            "gid://app/Room/1/messages%0A",
            "gid://app/Room/1/messages%",
            "gid://app/Room/1/messages%zz",
            "gid://app/Room/1/messages%ff",
            "%5F%5Fds/subscriptions/x",
        ];
        use Expect::{BadRequest, Forbidden, Passes, Unauthorized};
        let groups = [
            (&ours[..], Passes, Passes),
            (&others[..], Forbidden, Passes),
            (&no_names[..], Forbidden, BadRequest),
        ];
        for (names, for_reader, for_server) in groups {
            for name in names {
                for method in ["GET", "HEAD"] {
                    let target = format!("{}/{name}", self.base);
                    self.push("a reader", method, target.clone(), vec![bearer(&reader)], for_reader);
                    self.push("a server", method, target.clone(), vec![bearer(&server)], for_server);
                    self.push("nobody", method, target, vec![], Unauthorized);
                }
            }
        }
    }

    fn rules(&mut self) {
        use Expect::{Forbidden, Passes, Unauthorized};
        let (now, sign) = (self.now, self.signatory.clone());
        let tokens = [
            sign.token(&client(now, STREAM, &["read"])),
            sign.token(&client(now, STREAM, &["write"])),
            sign.token(&client(now, STREAM, &["read", "write"])),
            sign.token(&server(now)),
        ];
        let closing = |value: &str| Some(("stream-closed", value.to_owned()));
        let fork = Some(("stream-forked-from", format!("{}/{STREAM}", self.base)));
        let (no, yes) = (Forbidden, Passes);
        // Read, write, both, server.
        let table = [
            ("PUT", None, [no, no, no, yes]),
            ("PUT", fork, [no, no, no, yes]),
            ("POST", None, [no, yes, yes, yes]),
            ("POST", closing("false"), [no, yes, yes, yes]),
            ("POST", closing("true"), [no, no, no, yes]),
            ("POST", closing("TRUE"), [no, no, no, yes]),
            ("GET", None, [yes, no, yes, yes]),
            ("HEAD", None, [yes, no, yes, yes]),
            ("DELETE", None, [no, no, no, yes]),
        ];
        for (method, header, row) in table {
            let target = format!("{}/{STREAM}", self.base);
            for (token, expect) in tokens.iter().zip(row) {
                let headers = [bearer(token)].into_iter().chain(header.clone()).collect();
                self.push("the rules table", method, target.clone(), headers, expect);
            }
            self.push("no token", method, target, header.into_iter().collect(), Unauthorized);
        }
        let subscription = format!("{}/__ds/subscriptions/s", self.base);
        for (token, expect) in tokens.iter().zip([no, no, no, yes]) {
            self.push(
                "subscriptions",
                "GET",
                subscription.clone(),
                vec![bearer(token)],
                expect,
            );
        }
        self.push("subscriptions", "PUT", subscription, vec![], Unauthorized);
        for path in ["/up", "/healthz", "/readyz"] {
            self.push("open to everybody", "GET", path.into(), vec![], Passes);
        }
        self.push(
            "no token",
            "PATCH",
            format!("{}/{STREAM}", self.base),
            vec![],
            Unauthorized,
        );
        self.push("no token", "GET", "/nowhere".into(), vec![], Unauthorized);
        self.push(
            "preflight",
            "OPTIONS",
            format!("{}/{STREAM}", self.base),
            vec![],
            Passes,
        );
    }

    fn places(&mut self) {
        use Expect::{Passes, Unauthorized};
        let good = self.signatory.token(&self.reader());
        let bad = Signatory::new(99).token(&self.reader());
        let target = |query: &str| format!("{}/{STREAM}{query}", self.base);
        let header = |value: String| vec![("authorization", value)];
        let cases = [
            ("query", target(&format!("?token={good}&offset=-1")), vec![], Passes),
            (
                "query, encoded",
                target(&format!("?token={}", good.replace('.', "%2E"))),
                vec![],
                Passes,
            ),
            (
                "query good, header bad",
                target(&format!("?token={good}")),
                vec![bearer(&bad)],
                Passes,
            ),
            (
                "query bad, header good",
                target(&format!("?token={bad}")),
                vec![bearer(&good)],
                Passes,
            ),
            (
                "both bad",
                target(&format!("?token={bad}")),
                vec![bearer(&bad)],
                Unauthorized,
            ),
            (
                "scheme in another case",
                target(""),
                header(format!("bEaReR {good}")),
                Passes,
            ),
            (
                "two in the query",
                target(&format!("?token={good}&token={good}")),
                vec![],
                Unauthorized,
            ),
            (
                "two in the query, one disguised",
                target(&format!("?token={good}&%74oken={bad}")),
                vec![],
                Unauthorized,
            ),
            (
                "two headers",
                target(""),
                vec![bearer(&good), bearer(&good)],
                Unauthorized,
            ),
            (
                "a parameter in another case",
                target(&format!("?Token={good}")),
                vec![],
                Unauthorized,
            ),
            (
                "encoded twice",
                target(&format!("?token={}", good.replace('.', "%252E"))),
                vec![],
                Unauthorized,
            ),
            (
                "another scheme",
                target(""),
                header(format!("Basic {good}")),
                Unauthorized,
            ),
            ("no scheme", target(""), header(good.clone()), Unauthorized),
            (
                "a cookie",
                target(""),
                vec![("cookie", format!("token={good}"))],
                Unauthorized,
            ),
            (
                "another header",
                target(""),
                vec![("x-authorization", format!("Bearer {good}"))],
                Unauthorized,
            ),
            ("nothing", target(""), vec![], Unauthorized),
        ];
        for (why, target, headers, expect) in cases {
            self.push(why, "GET", target, headers, expect);
        }
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}
