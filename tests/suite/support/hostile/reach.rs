//! Good tokens, and what they may do.

use super::{
    super::tokens::{STREAM, Signatory, client, server},
    Expect, Table, bearer,
};

impl Table {
    pub(super) fn names(&mut self) {
        let reader = self.signatory.token(&self.reader());
        let server = self.signatory.token(&server(self.now));
        let ours = [
            "gid://app/Room/1/messages",
            "gid:%2F%2Fapp%2fRoom/1/messages",
            "gid:/app/Room/1/messages",
            "%67id://app/Room/1/messages",
            // Runs of slashes count as one, because proxies merge them.
            "gid:///app/Room/1/messages",
            "gid://app//Room/1/messages",
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

    pub(super) fn rules(&mut self) {
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
        for path in ["jwks.json", "subscriptions/s", "subscriptions/s/ack", "streams/x"] {
            let missing = format!("{}/__ds/{path}", self.base);
            for method in ["GET", "PUT", "POST"] {
                self.push(
                    "a reserved path",
                    method,
                    missing.clone(),
                    vec![bearer(&tokens[0])],
                    yes,
                );
                self.push("a reserved path", method, missing.clone(), vec![], Unauthorized);
            }
        }
        let list = format!("{}/__ds/streams", self.base);
        for method in ["GET", "HEAD"] {
            for (token, expect) in tokens.iter().zip([no, no, no, yes]) {
                self.push("the list of streams", method, list.clone(), vec![bearer(token)], expect);
            }
            self.push("the list of streams", method, list.clone(), vec![], Unauthorized);
        }
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

    pub(super) fn places(&mut self) {
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
