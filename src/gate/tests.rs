use http::HeaderName;

use super::*;
use crate::{
    auth::{AuthConfig, AuthMode, Principal},
    clock::Clock,
    routes::{Access, Operation, Path, ROUTES, Route},
    test_support::{
        hostile::{Case, Expect, Table},
        tokens::{AUDIENCE, ISSUER, Issuer, STREAM, client, server},
    },
};

const BASE: &str = "/v1/stream";

fn gate(issuer: &Issuer) -> Gate {
    let directory = tempfile::tempdir().unwrap();
    let verify_key = directory.path().join("verify_key.pem");
    std::fs::write(&verify_key, issuer.public_pem()).unwrap();
    let auth = AuthConfig {
        verify_key,
        issuer: vec![ISSUER.into()],
        audience: vec![AUDIENCE.into()],
        ..AuthConfig::default()
    };
    Gate::load(Some(&auth), BASE, Clock::system()).unwrap()
}

fn admit(gate: &Gate, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Admission, Refusal> {
    let headers = header_map(headers);
    let method = method.parse().unwrap();
    gate.admit(&method, &target.parse().unwrap(), &headers, ListenerKind::Public, None)
}

fn header_map(headers: &[(&str, &str)]) -> HeaderMap {
    let pairs = headers.iter().map(|(name, value)| {
        let name = HeaderName::try_from(*name).unwrap();
        (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    pairs.collect()
}

fn outcome(gate: &Gate, case: &Case) -> Expect {
    let headers: Vec<_> = case
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    match admit(gate, case.method, &case.target, &headers) {
        Ok(Admission::BadName(_)) => Expect::BadRequest,
        Ok(Admission::Granted(permit)) if permit.route().access == Access::Wake => Expect::WrongKind,
        Ok(_) => Expect::Passes,
        Err(refusal) if refusal.status() == StatusCode::UNAUTHORIZED => Expect::Unauthorized,
        Err(_) => Expect::Forbidden,
    }
}

#[test]
fn every_hostile_request_gets_the_expected_answer() {
    let issuer = Issuer::new(1);
    let gate = gate(&issuer);
    let cases = Table::new(BASE, &issuer, Clock::system().secs()).cases();
    assert!(cases.len() > 250, "{}", cases.len());
    // Twice: the second time the good tokens are cached.
    for round in ["fresh", "cached"] {
        let wrong: Vec<_> = cases
            .iter()
            .filter(|case| outcome(&gate, case) != case.expect)
            .map(|case| (&case.why, case.method, &case.target, case.expect, outcome(&gate, case)))
            .collect();
        assert!(wrong.is_empty(), "{round}: {wrong:#?}");
    }
}

#[test]
fn a_refusal_never_echoes_the_token() {
    let issuer = Issuer::new(1);
    let gate = gate(&issuer);
    for case in Table::new(BASE, &issuer, Clock::system().secs()).cases() {
        let headers: Vec<_> = case.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let Err(refusal) = admit(&gate, case.method, &case.target, &headers) else {
            continue;
        };
        let challenge = refusal.www_authenticate();
        assert_eq!(challenge.is_some(), refusal.status() == StatusCode::UNAUTHORIZED);
        let said = format!("{refusal:?} {refusal} {challenge:?}");
        let sent = headers.iter().flat_map(|(_, value)| value.split(['.', ' ']));
        for piece in sent.filter(|piece| piece.len() > 16) {
            assert!(!said.contains(piece), "{said}");
        }
    }
}

#[test]
fn a_401_says_how_to_authenticate_and_why_not() {
    let issuer = Issuer::new(1);
    let gate = gate(&issuer);
    let target = format!("{BASE}/{STREAM}");
    let refusal = admit(&gate, "GET", &target, &[]).unwrap_err();
    assert_eq!(refusal.www_authenticate().unwrap(), "Bearer");

    let old = issuer.token(&client(Clock::system().secs() - 5000, STREAM, &["read"]));
    let refusal = admit(&gate, "GET", &format!("{target}?token={old}"), &[]).unwrap_err();
    assert_eq!(
        refusal.www_authenticate().unwrap(),
        r#"Bearer error="invalid_token", error_description="the token has expired", error_reason="expired""#
    );

    let reader = issuer.token(&client(Clock::system().secs(), STREAM, &["read"]));
    let refusal = admit(&gate, "DELETE", &format!("{target}?token={reader}"), &[]).unwrap_err();
    assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    assert_eq!(refusal.to_string(), "delete needs a server token");
}

#[test]
fn a_permit_carries_what_was_decided() {
    let issuer = Issuer::new(1);
    let gate = gate(&issuer);
    let now = Clock::system().secs();
    let token = issuer.token(&client(now, STREAM, &["read"]));
    let Ok(Admission::Granted(permit)) = admit(&gate, "GET", &format!("{BASE}/{STREAM}?token={token}"), &[]) else {
        panic!("not granted");
    };
    assert_eq!(permit.operation(), Operation::Read);
    assert_eq!(permit.stream().unwrap().as_str(), STREAM);
    assert_eq!(permit.identity(), Some("7"));
    assert_eq!(permit.expires_at(), Some(now + 900 + 5));
    assert!(!permit.operation().closes());
}

#[test]
fn an_open_gate_grants_everything_without_a_token() {
    for auth in [
        None,
        Some(AuthConfig {
            mode: AuthMode::None,
            ..AuthConfig::default()
        }),
    ] {
        let gate = Gate::load(auth.as_ref(), BASE, Clock::system()).unwrap();
        assert!(gate.is_open() && gate.authenticator().is_none());
        let Ok(Admission::Granted(permit)) = admit(&gate, "DELETE", &format!("{BASE}/a"), &[]) else {
            panic!("not granted");
        };
        assert_eq!((permit.expires_at(), permit.identity()), (None, None));
        let bad = admit(&gate, "GET", &format!("{BASE}/a/../b"), &[]);
        assert!(matches!(bad, Ok(Admission::BadName(NameError::DotSegment))));
    }
}

#[test]
fn metrics_are_for_the_internal_listener_or_a_server() {
    let issuer = Issuer::new(1);
    let gate = gate(&issuer);
    let (get, uri, none) = (Method::GET, Uri::from_static("/metrics"), HeaderMap::new());
    let refused = gate.admit(&get, &uri, &none, ListenerKind::Public, None);
    assert_eq!(refused.unwrap_err(), Refusal::NoToken);
    let inside = gate.admit(&get, &uri, &none, ListenerKind::Internal, None);
    assert!(matches!(inside, Ok(Admission::Granted(permit)) if permit.principal().is_none()));

    let token = issuer.token(&server(Clock::system().secs()));
    let Ok(Admission::Granted(permit)) = admit(&gate, "GET", &format!("/metrics?token={token}"), &[]) else {
        panic!("not granted");
    };
    assert_eq!(
        permit.principal(),
        Some(&Principal::Server {
            name: Some("rails".into())
        })
    );
}

/// Every row of the route table, tried with every kind of token.
#[test]
fn every_operation_is_refused_to_those_whom_the_table_excludes() {
    let issuer = Issuer::new(1);
    let gate = gate(&issuer);
    let now = Clock::system().secs();
    let tokens = [
        ("reader", issuer.token(&client(now, STREAM, &["read"]))),
        ("writer", issuer.token(&client(now, STREAM, &["write"]))),
        ("server", issuer.token(&server(now))),
    ];
    for route in ROUTES {
        let headers = example_headers(route);
        let nobody = expected(route, None);
        assert_eq!(ask(&gate, route, &headers), nobody, "{} without a token", route.name);
        for (holder, token) in &tokens {
            let bearer = format!("Bearer {token}");
            let headers = [&headers[..], &[("authorization", bearer.as_str())]].concat();
            let expected = expected(route, Some(holder));
            assert_eq!(ask(&gate, route, &headers), expected, "{} by a {holder}", route.name);
        }
    }
}

fn expected(route: &Route, holder: Option<&str>) -> Expect {
    match (route.access, holder) {
        (Access::Everyone | Access::Wake, _) | (_, Some("server")) => Expect::Passes,
        (Access::ClientRead, Some("reader")) | (Access::ClientWrite, Some("writer")) => Expect::Passes,
        (_, Some(_)) => Expect::Forbidden,
        (_, None) => Expect::Unauthorized,
    }
}

fn ask(gate: &Gate, route: &Route, headers: &[(&str, &str)]) -> Expect {
    let target = match route.path {
        Path::Server(path) => path.to_owned(),
        Path::Reserved(path) => {
            let path = path.replace("{id}", "s").replace("{*path}", "a/b");
            format!("{BASE}/__ds/{path}")
        }
        Path::Stream => format!("{BASE}/{STREAM}"),
    };
    let method = route.methods.first().unwrap();
    match admit(gate, method.as_str(), &target, headers) {
        Ok(Admission::Granted(permit)) => {
            assert_eq!(permit.operation(), route.operation, "{}", route.name);
            Expect::Passes
        }
        Ok(other) => panic!("{}: {other:?}", route.name),
        Err(refusal) if refusal.status() == StatusCode::UNAUTHORIZED => Expect::Unauthorized,
        Err(_) => Expect::Forbidden,
    }
}

/// Headers that make a request one for this row and not for another one of its method.
fn example_headers(route: &Route) -> Vec<(&'static str, &'static str)> {
    match route.operation {
        Operation::Fork => vec![("stream-forked-from", "/v1/stream/x")],
        Operation::AppendAndClose => vec![("stream-closed", "true")],
        Operation::Close => vec![("stream-closed", "true"), ("content-length", "0")],
        _ => vec![],
    }
}

/// The suite puts the hostile table to a running server; a new operation must be in it.
#[test]
fn the_hostile_table_tries_every_operation_with_and_without_tokens() {
    let issuer = Issuer::new(1);
    let cases = Table::new(BASE, &issuer, Clock::system().secs()).cases();
    // A close differs from an append and close only by its length, which the client adds; metrics
    // are for everyone on one of the listeners.
    let is_tried = |route: &&Route| {
        let is_open = matches!(route.access, Access::Everyone | Access::InternalOrServer | Access::Wake);
        !is_open && route.operation != Operation::Close
    };
    for route in ROUTES.iter().filter(is_tried) {
        let cases = cases.iter().filter(|case| {
            let headers = header_map(&case.headers.iter().map(|(n, v)| (*n, v.as_str())).collect::<Vec<_>>());
            let path = case.target.split('?').next().unwrap();
            let found = routes::find(&case.method.parse().unwrap(), path, BASE, &headers);
            found.is_ok_and(|found| std::ptr::eq(found.route, route))
        });
        let expectations: Vec<_> = cases.map(|case| case.expect).collect();
        for expect in [Expect::Passes, Expect::Forbidden, Expect::Unauthorized] {
            assert!(expectations.contains(&expect), "{}: no case {expect:?}", route.name);
        }
    }
}
