//! Deliveries, and where they go.

use std::{io, net::IpAddr, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};

use super::receiver::{
    BODY, Receiver, SIGNATURE, Script, certified, deliver, deliver_by, failure, listing, local, responds,
};
use crate::webhook::{Answer, Deliverer, DelivererError, DeliveryError, Resolve, TargetPolicy, WebhooksConfig};

const DONE: &str = r#"{"done": true}"#;

#[tokio::test]
async fn a_delivery_is_one_signed_post() {
    let receiver = Receiver::start(responds("200 OK", DONE)).await;
    assert_eq!(deliver(&receiver.url()).await.unwrap(), Answer::Done);
    let [request] = &receiver.requests()[..] else {
        panic!("not one request")
    };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, BODY);
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("POST /hook?x=1 HTTP/1.1"));
    let mut headers: Vec<_> = lines.collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            "connection: close",
            "content-length: 17",
            "content-type: application/json",
            &format!("host: {}", receiver.address),
            &format!("user-agent: durable-streams-server/{}", env!("CARGO_PKG_VERSION")),
            &format!("webhook-signature: {SIGNATURE}"),
        ]
    );
}

#[tokio::test]
async fn every_success_without_done_is_an_acceptance() {
    for status in ["200 OK", "202 Accepted", "204 No Content"] {
        let receiver = Receiver::start(responds(status, "")).await;
        assert_eq!(deliver(&receiver.url()).await.unwrap(), Answer::Accepted, "{status}");
    }
}

#[tokio::test]
async fn localhost_is_not_asked_of_a_resolver() {
    let receiver = Receiver::start(responds("200 OK", DONE)).await;
    let url = format!("http://localhost:{}/", receiver.address.port());
    let script = Script::new(&[&["8.8.8.8"]]);
    assert_eq!(deliver_by(&local(), script.clone(), &url).await.unwrap(), Answer::Done);
    assert!(script.asked().is_empty());
}

#[tokio::test]
async fn a_receiver_is_known_by_its_certificate() {
    let (ca, tls) = certified("hooks.example.com");
    let receiver = Receiver::at("127.0.0.1", Some(tls), responds("200 OK", DONE)).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, ca).unwrap();
    let strangers = listing(&["127.0.0.1"]);
    let trusting = WebhooksConfig {
        extra_ca_path: Some(path),
        ..strangers.clone()
    };
    let to = |config: WebhooksConfig, host: &str| {
        let url = format!("https://{host}:{}/", receiver.address.port());
        async move { deliver_by(&config, Script::new(&[&["127.0.0.1"]]), &url).await }
    };
    assert_eq!(to(trusting.clone(), "hooks.example.com").await.unwrap(), Answer::Done);
    for (config, host) in [
        (trusting.clone(), "other.example.com"),
        (trusting, "127.0.0.1"),
        (strangers, "hooks.example.com"),
    ] {
        assert!(
            matches!(failure(to(config, host).await), DeliveryError::Tls(_)),
            "{host}"
        );
    }
    assert_eq!(receiver.requests().len(), 1);
    assert!(receiver.requests()[0].contains(&format!("host: hooks.example.com:{}\r\n", receiver.address.port())));
}

#[test]
fn an_unusable_ca_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let new = || {
        let config = WebhooksConfig {
            extra_ca_path: Some(path.clone()),
            ..WebhooksConfig::default()
        };
        Deliverer::new(&config, Script::new(&[])).err().unwrap()
    };
    assert!(matches!(new(), DelivererError::Read { .. }));
    for content in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, content).unwrap();
        let error = new();
        assert!(matches!(error, DelivererError::Certificate(_)));
        assert!(error.to_string().contains("ca.pem"), "{error}");
    }
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    // The name leads to a permitted address at first, and to a local service afterwards.
    let (ca, tls) = certified("hooks.example.com");
    // Until a port is free at both addresses.
    let (permitted, local_service) = loop {
        let permitted = Receiver::at("127.0.0.2", Some(tls.clone()), responds("200 OK", DONE)).await;
        if let Ok(local) = tokio::net::TcpListener::bind(("127.0.0.1", permitted.address.port())).await {
            break (permitted, local);
        }
    };
    let port = permitted.address.port();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, ca).unwrap();
    let config = WebhooksConfig {
        extra_ca_path: Some(path),
        ..listing(&["127.0.0.2"])
    };
    let script = Script::new(&[&["127.0.0.2"], &["127.0.0.1"]]);
    let url = format!("https://hooks.example.com:{port}/");
    assert_eq!(deliver_by(&config, script.clone(), &url).await.unwrap(), Answer::Done);
    assert_eq!(script.asked(), ["hooks.example.com"]);
    let refused = failure(deliver_by(&config, script.clone(), &url).await);
    assert!(matches!(refused, DeliveryError::Refused(_)), "{refused:?}");
    assert_eq!(script.asked().len(), 2);
    assert!(local_service.accept().now_or_never().is_none());
}

#[tokio::test]
async fn forbidden_addresses_are_skipped_among_others() {
    let (ca, tls) = certified("hooks.example.com");
    let permitted = Receiver::at("127.0.0.2", Some(tls), responds("200 OK", DONE)).await;
    let port = permitted.address.port();
    let local_service = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, ca).unwrap();
    let config = WebhooksConfig {
        extra_ca_path: Some(path),
        ..listing(&["127.0.0.2", "127.0.0.3"])
    };
    // Nobody listens at the second.
    let script = Script::new(&[&["127.0.0.1", "127.0.0.3", "::ffff:127.0.0.2", "169.254.169.254"]]);
    let url = format!("https://hooks.example.com:{port}/");
    assert_eq!(deliver_by(&config, script, &url).await.unwrap(), Answer::Done);
    assert!(local_service.accept().now_or_never().is_none());
}

#[tokio::test]
async fn a_name_without_addresses_fails() {
    let config = WebhooksConfig::default();
    for script in [Script::new(&[]), Script::new(&[&[]])] {
        let failed = failure(deliver_by(&config, script, "https://hooks.example.com/").await);
        assert!(matches!(failed, DeliveryError::Resolve(_)), "{failed:?}");
    }
}

#[tokio::test]
async fn a_closed_port_fails() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert!(matches!(failure(deliver(&url).await), DeliveryError::Connect { .. }));
}

/// Never answers.
struct Silent;

impl Resolve for Silent {
    fn resolve(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_hangs_is_limited_in_time_and_keeps_its_slot() {
    let config = WebhooksConfig {
        max_in_flight_per_target: 1,
        ..WebhooksConfig::default()
    };
    let url = TargetPolicy::new(&config).check("https://slow.example.com/").unwrap();
    let deliverer = Deliverer::new(&config, Arc::new(Silent)).unwrap();
    let slot = deliverer.slot(&url).await;
    let failed = deliverer.deliver(slot, &url, Bytes::new(), SIGNATURE).await;
    assert!(matches!(failed, Err(DeliveryError::Timeout(_))));
    assert!(deliverer.slot(&url).now_or_never().is_none());
}
