use http::HeaderName;

use super::*;
use crate::{
    auth::{AuthConfig, AuthMode},
    auth::{Operation, Principal},
    clock::{self, Clock},
    test_support::{
        hostile::{Case, Expect, Table},
        tokens::{AUDIENCE, ISSUER, STREAM, Signatory, client, server},
    },
};

const BASE: &str = "/v1/stream";

fn gate(signatory: &Signatory) -> Gate {
    let directory = tempfile::tempdir().unwrap();
    let verify_key = directory.path().join("verify_key.pem");
    std::fs::write(&verify_key, signatory.public_pem()).unwrap();
    let auth = AuthConfig {
        verify_key,
        issuer: vec![ISSUER.into()],
        audience: vec![AUDIENCE.into()],
        ..AuthConfig::default()
    };
    Gate::load(Some(&auth), BASE, Clock::system()).unwrap()
}

fn admit(gate: &Gate, method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Admission, Refusal> {
    let headers = headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::try_from(*name).unwrap();
            (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
        })
        .collect();
    let method = method.parse().unwrap();
    gate.admit(&method, &target.parse().unwrap(), &headers, Listener::Public, None)
}

fn outcome(gate: &Gate, case: &Case) -> Expect {
    let headers: Vec<_> = case
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    match admit(gate, case.method, &case.target, &headers) {
        Ok(Admission::BadName(_)) => Expect::BadRequest,
        Ok(_) => Expect::Passes,
        Err(refusal) if refusal.status() == StatusCode::UNAUTHORIZED => Expect::Unauthorized,
        Err(_) => Expect::Forbidden,
    }
}

#[test]
fn every_hostile_request_gets_what_the_table_says() {
    let signatory = Signatory::new(1);
    let gate = gate(&signatory);
    let cases = Table::new(BASE, &signatory, clock::now_secs()).cases();
    assert!(cases.len() > 250, "{}", cases.len());
    // Twice: the second time the good ones come from memory.
    for round in ["fresh", "remembered"] {
        let wrong: Vec<_> = cases
            .iter()
            .filter(|case| outcome(&gate, case) != case.expect)
            .map(|case| (&case.why, case.method, &case.target, case.expect, outcome(&gate, case)))
            .collect();
        assert!(wrong.is_empty(), "{round}: {wrong:#?}");
    }
}

#[test]
fn a_refusal_never_repeats_what_was_sent() {
    let signatory = Signatory::new(1);
    let gate = gate(&signatory);
    for case in Table::new(BASE, &signatory, clock::now_secs()).cases() {
        let headers: Vec<_> = case.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let Err(refusal) = admit(&gate, case.method, &case.target, &headers) else {
            continue;
        };
        let challenge = refusal.www_authenticate();
        assert_eq!(challenge.is_some(), refusal.status() == StatusCode::UNAUTHORIZED);
        let said = format!("{refusal:?} {} {challenge:?}", refusal.detail());
        let sent = headers.iter().flat_map(|(_, value)| value.split(['.', ' ']));
        for piece in sent.filter(|piece| piece.len() > 16) {
            assert!(!said.contains(piece), "{said}");
        }
    }
}

#[test]
fn a_401_says_how_to_authenticate_and_why_not() {
    let signatory = Signatory::new(1);
    let gate = gate(&signatory);
    let target = format!("{BASE}/{STREAM}");
    let refusal = admit(&gate, "GET", &target, &[]).unwrap_err();
    assert_eq!(refusal.www_authenticate().unwrap(), "Bearer");

    let old = signatory.token(&client(clock::now_secs() - 5000, STREAM, &["read"]));
    let refusal = admit(&gate, "GET", &format!("{target}?token={old}"), &[]).unwrap_err();
    assert_eq!(
        refusal.www_authenticate().unwrap(),
        r#"Bearer error="invalid_token", error_description="the token has expired", error_reason="expired""#
    );

    let reader = signatory.token(&client(clock::now_secs(), STREAM, &["read"]));
    let refusal = admit(&gate, "DELETE", &format!("{target}?token={reader}"), &[]).unwrap_err();
    assert_eq!(refusal.status(), StatusCode::FORBIDDEN);
    assert_eq!(refusal.detail(), "delete needs a server token");
}

#[test]
fn a_permit_carries_what_was_decided() {
    let signatory = Signatory::new(1);
    let gate = gate(&signatory);
    let now = clock::now_secs();
    let token = signatory.token(&client(now, STREAM, &["read"]));
    let Ok(Admission::Granted(permit)) = admit(&gate, "GET", &format!("{BASE}/{STREAM}?token={token}"), &[]) else {
        panic!("not granted");
    };
    assert_eq!(permit.operation(), Operation::Read);
    assert_eq!(permit.stream().unwrap().as_str(), STREAM);
    assert_eq!(permit.identity(), Some("7"));
    assert_eq!(permit.expires_at(), Some(now + 900 + 5));
    assert!(!permit.covers(Operation::Append));
}

#[test]
fn an_open_gate_grants_everything_to_nobody_in_particular() {
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
    let signatory = Signatory::new(1);
    let gate = gate(&signatory);
    let (get, uri, none) = (Method::GET, Uri::from_static("/metrics"), HeaderMap::new());
    let refused = gate.admit(&get, &uri, &none, Listener::Public, None);
    assert_eq!(refused.unwrap_err(), Refusal::NoToken);
    let inside = gate.admit(&get, &uri, &none, Listener::Internal, None);
    assert!(matches!(inside, Ok(Admission::Public)));

    let token = signatory.token(&server(clock::now_secs()));
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

#[test]
fn paths_and_methods_become_operations() {
    let name = |text| Ok(StreamName::new(text).unwrap());
    use crate::protocol::StreamName;
    let cases = [
        ("GET", "/v1/stream/a", Route::Stream(Operation::Read, name("a"))),
        ("GET", "/v1/stream//a", Route::Stream(Operation::Read, name("/a"))),
        (
            "PUT",
            "/v1/stream",
            Route::Stream(Operation::Create, Err(NameError::Empty)),
        ),
        (
            "PUT",
            "/v1/stream/",
            Route::Stream(Operation::Create, Err(NameError::Empty)),
        ),
        ("GET", "/v1/streams/a", Route::Unknown),
        ("GET", "/", Route::Unknown),
        ("PATCH", "/v1/stream/a", Route::Unknown),
        ("POST", "/up", Route::Unknown),
        ("GET", "/up", Route::Public),
        ("OPTIONS", "/v1/stream/a", Route::Public),
        ("GET", "/metrics", Route::Metrics),
        ("GET", "/v1/stream/__ds/jwks.json", Route::Public),
        ("DELETE", "/v1/stream/__ds/jwks.json", Route::Unknown),
        ("GET", "/v1/stream/__ds/jwks.json/x", Route::Unknown),
        ("GET", "/v1/stream/__ds", Route::Unknown),
        ("GET", "/v1/stream/__dsx", Route::Stream(Operation::Read, name("__dsx"))),
        ("PUT", "/v1/stream/__ds/subscriptions/s", Route::Subscriptions),
        ("POST", "/v1/stream/__ds/subscriptions/s/claim", Route::Subscriptions),
        ("POST", "/v1/stream/__ds/subscriptions/s/callback", Route::OwnToken),
        ("POST", "/v1/stream/__ds/subscriptions/s/ack", Route::OwnToken),
        ("POST", "/v1/stream/__ds/subscriptions/s/release", Route::OwnToken),
        ("GET", "/v1/stream/__ds/subscriptions/s/release", Route::Subscriptions),
        ("POST", "/v1/stream/__ds/subscriptions//ack", Route::Subscriptions),
        ("POST", "/v1/stream/__ds/subscriptions/s/ack/", Route::Subscriptions),
    ];
    for (method, path, expected) in cases {
        let method: Method = method.parse().unwrap();
        assert_eq!(
            route(&method, path, BASE, &HeaderMap::new()),
            expected,
            "{method} {path}"
        );
    }
    assert_eq!(route(&Method::GET, "/up", "", &HeaderMap::new()), Route::Public);
    assert_eq!(
        route(&Method::GET, "/a", "", &HeaderMap::new()),
        Route::Stream(Operation::Read, name("a"))
    );
}
