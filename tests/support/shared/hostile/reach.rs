//! Valid tokens and their permissions.

use super::{
    super::tokens::{Issuer, STREAM, client, server},
    Expect, Table, bearer,
};

/// Spellings of the name in the claim.
const OWN: &[&str] = &[
    "gid://app/Room/1/messages",
    "gid:%2F%2Fapp%2fRoom/1/messages",
    "gid:/app/Room/1/messages",
    "%67id://app/Room/1/messages",
    // Runs of slashes count as one, because proxies merge them.
    "gid:///app/Room/1/messages",
    "gid://app//Room/1/messages",
];

/// Similar names of other streams.
const OTHERS: &[&str] = &[
    "gid://app/room/1/messages",
    "GID://app/Room/1/messages",
    "gid://app/Room/1/messages/",
    "gid://app/Room/1",
    "gid://app/Room/1/message",
    "gid://app/Room/1/messages2",
    "gid://app/Room/1/messages/x",
    "gid://app/Room/10/messages",
    "/gid://app/Room/1/messages",
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

/// Invalid stream names.
const INVALID: &[&str] = &[
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

impl Table {
    pub(super) fn names(&mut self) {
        let reader = self.issuer.token(&self.reader());
        let server = self.issuer.token(&server(self.now));
        use Expect::{BadRequest, Forbidden, Passes, Unauthorized};
        let groups = [
            (OWN, Passes, Passes),
            (OTHERS, Forbidden, Passes),
            (INVALID, Forbidden, BadRequest),
        ];
        for (names, for_reader, for_server) in groups {
            for name in names {
                for method in ["GET", "HEAD"] {
                    let target = format!("{}/{name}", self.base);
                    self.push("a reader", method, target.clone(), vec![bearer(&reader)], for_reader);
                    self.push("a server", method, target.clone(), vec![bearer(&server)], for_server);
                    self.push("no token", method, target, vec![], Unauthorized);
                }
            }
        }
    }

    pub(super) fn rules(&mut self) {
        use Expect::{Forbidden, Passes, Unauthorized};
        let (now, sign) = (self.now, self.issuer.clone());
        let tokens = [
            sign.token(&client(now, STREAM, &["read"])),
            sign.token(&client(now, STREAM, &["write"])),
            sign.token(&client(now, STREAM, &["read", "write"])),
            sign.token(&server(now)),
        ];
        let closing = |value: &str| Some(("stream-closed", value.to_owned()));
        let fork = Some(("stream-forked-from", format!("{}/{STREAM}", self.base)));
        let (no, yes) = (Forbidden, Passes);
        // Columns: read, write, both, server.
        let table = [
            ("PUT", None, [no, no, no, yes]),
            ("PUT", fork, [no, no, no, yes]),
            ("POST", None, [no, yes, yes, yes]),
            ("POST", closing("false"), [no, yes, yes, yes]),
            ("POST", closing("true"), [no, no, no, yes]),
            ("POST", closing("true, true"), [no, no, no, yes]),
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
        self.reserved_paths(&tokens);
        self.without_token();
    }

    fn reserved_paths(&mut self, tokens: &[String; 4]) {
        use Expect::{Forbidden, Passes, Unauthorized};
        self.subscriptions(tokens);
        for path in [
            "jwks",
            "subscriptions/s/x",
            "subscriptions/s/ack/x",
            "subscriptions//ack",
            "streams/x",
        ] {
            let missing = format!("{}/__ds/{path}", self.base);
            for method in ["GET", "PUT", "POST"] {
                let reader = vec![bearer(&tokens[0])];
                self.push("a reserved path", method, missing.clone(), reader, Passes);
                self.push("a reserved path", method, missing.clone(), vec![], Unauthorized);
            }
        }
        let list = format!("{}/__ds/streams", self.base);
        for method in ["GET", "HEAD"] {
            for (token, expect) in tokens.iter().zip([Forbidden, Forbidden, Forbidden, Passes]) {
                self.push("the list of streams", method, list.clone(), vec![bearer(token)], expect);
            }
            self.push("the list of streams", method, list.clone(), vec![], Unauthorized);
        }
    }

    fn subscriptions(&mut self, tokens: &[String; 4]) {
        use Expect::{Forbidden, Passes, Unauthorized, WrongKind};
        for (method, path) in [
            ("GET", "subscriptions"),
            ("PUT", "subscriptions/s"),
            ("GET", "subscriptions/s"),
            ("DELETE", "subscriptions/s"),
            ("POST", "subscriptions/s/streams"),
            ("DELETE", "subscriptions/s/streams/a%2Fb"),
            ("POST", "subscriptions/s/pause"),
            ("POST", "subscriptions/s/resume"),
            ("POST", "subscriptions/s/claim"),
        ] {
            let target = format!("{}/__ds/{path}", self.base);
            for (token, expect) in tokens.iter().zip([Forbidden, Forbidden, Forbidden, Passes]) {
                self.push("subscriptions", method, target.clone(), vec![bearer(token)], expect);
            }
            self.push("subscriptions", method, target, vec![], Unauthorized);
        }
        // These take the token of a wake and no other, wherever it stands.
        for operation in ["ack", "release", "callback"] {
            let target = format!("{}/__ds/subscriptions/s/{operation}", self.base);
            for token in tokens {
                self.push("not of a wake", "POST", target.clone(), vec![bearer(token)], WrongKind);
                self.push(
                    "not of a wake",
                    "POST",
                    format!("{target}?token={token}"),
                    vec![],
                    WrongKind,
                );
            }
            self.push("no token", "POST", target, vec![], WrongKind);
        }
        self.push(
            "keys for everyone",
            "GET",
            format!("{}/__ds/jwks.json", self.base),
            vec![],
            Passes,
        );
    }

    fn without_token(&mut self) {
        use Expect::{Passes, Unauthorized};
        for path in ["/up", "/healthz", "/readyz"] {
            self.push("open to everyone", "GET", path.into(), vec![], Passes);
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

    pub(super) fn places(&mut self) {
        let good = self.issuer.token(&self.reader());
        let bad = Issuer::new(99).token(&self.reader());
        self.tokens_in_the_query(&good, &bad);
        self.tokens_in_headers(&good, &bad);
    }

    fn tokens_in_the_query(&mut self, good: &str, bad: &str) {
        use Expect::{Passes, Unauthorized};
        let encoded = |dot: &str| format!("token={}", good.replace('.', dot));
        for (why, query, headers, expect) in [
            ("query", format!("token={good}&offset=-1"), vec![], Passes),
            ("query, encoded", encoded("%2E"), vec![], Passes),
            ("query, encoded twice", encoded("%252E"), vec![], Unauthorized),
            (
                "query good, header bad",
                format!("token={good}"),
                vec![bearer(bad)],
                Passes,
            ),
            (
                "query bad, header good",
                format!("token={bad}"),
                vec![bearer(good)],
                Passes,
            ),
            ("both bad", format!("token={bad}"), vec![bearer(bad)], Unauthorized),
            (
                "two in the query",
                format!("token={good}&token={good}"),
                vec![],
                Unauthorized,
            ),
            (
                "two in the query, one disguised",
                format!("token={good}&%74oken={bad}"),
                vec![],
                Unauthorized,
            ),
            (
                "a parameter in another case",
                format!("Token={good}"),
                vec![],
                Unauthorized,
            ),
        ] {
            let target = format!("{}/{STREAM}?{query}", self.base);
            self.push(why, "GET", target, headers, expect);
        }
    }

    fn tokens_in_headers(&mut self, good: &str, bad: &str) {
        use Expect::{Passes, Unauthorized};
        let header = |value: String| vec![("authorization", value)];
        for (why, headers, expect) in [
            ("scheme in another case", header(format!("bEaReR {good}")), Passes),
            ("two headers", vec![bearer(good), bearer(good)], Unauthorized),
            ("two headers, one bad", vec![bearer(good), bearer(bad)], Unauthorized),
            ("another scheme", header(format!("Basic {good}")), Unauthorized),
            ("no scheme", header(good.to_owned()), Unauthorized),
            ("a cookie", vec![("cookie", format!("token={good}"))], Unauthorized),
            (
                "another header",
                vec![("x-authorization", format!("Bearer {good}"))],
                Unauthorized,
            ),
            ("nothing", vec![], Unauthorized),
        ] {
            let target = format!("{}/{STREAM}", self.base);
            self.push(why, "GET", target, headers, expect);
        }
    }
}
