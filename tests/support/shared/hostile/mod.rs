//! Requests with valid and invalid tokens, each with the expected response. Unit tests send them to
//! the gate and compare them with the route table; the suite sends them to a server.

mod claims;
mod reach;
mod shapes;
mod signatures;

use serde_json::Value;

use super::tokens::{Issuer, STREAM, client};

/// The expected response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Passes the gate: neither 401 nor 403.
    Passes,
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// Passes the gate, which has nothing to say, and gets 401 from the handler.
    WrongKind,
}

/// One request; the target is that of the request line.
#[derive(Debug, Clone)]
pub struct Case {
    pub why: String,
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub expect: Expect,
}

/// Builds the cases for a server that knows only `issuer`'s public key, checks `ISSUER` and
/// `AUDIENCE`, allows a leeway of 5 s and serves its streams below `base`.
pub struct Table {
    pub base: String,
    pub issuer: Issuer,
    pub now: u64,
    cases: Vec<Case>,
}

impl Table {
    pub fn new(base: &str, issuer: &Issuer, now: u64) -> Self {
        Self {
            base: base.to_owned(),
            issuer: issuer.clone(),
            now,
            cases: Vec::new(),
        }
    }

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

    /// A GET of the stream with this token in the header.
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
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}
