//! Automatic HTTPS against pebble, the ACME test server (Debian packages `pebble`).

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{
    certs::{Ca, run},
    support::{app, bind, exchange, until},
};
use crate::{
    clock::Clock,
    engine::LimitsConfig,
    listener::{AcmeConfig, ConnectionConfig, TransportConfig, TransportMode},
    listener::{Server, build_acme_context},
};

const DOMAIN: &str = "streams.example.test";

/// Killed with the test.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(program: &str, arguments: &[&str]) -> KillOnDrop {
    let child = Command::new(program)
        .args(arguments)
        .env("PEBBLE_VA_NOSLEEP", "1")
        .env("PEBBLE_WFE_NONCEREJECT", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    KillOnDrop(child.unwrap_or_else(|error| panic!("{program} (install the Debian package pebble): {error}")))
}

/// Free ports.
async fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| bind("127.0.0.1:0"));
    listeners.map(|listener| listener.address().port())
}

/// The current leaf certificate of the domain.
async fn leaf(address: SocketAddr) -> Option<String> {
    let arguments = ["s_client", "-connect", &address.to_string(), "-servername", DOMAIN];
    let said = run("openssl", arguments.map(str::to_owned).into()).await.stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    let (_, leaf) = said.split_once("BEGIN CERTIFICATE")?;
    Some(leaf.split_once("END CERTIFICATE")?.0.to_owned())
}

/// Waits for a leaf certificate other than `old`.
async fn next_leaf(address: SocketAddr, old: Option<&str>) -> String {
    let next = async {
        loop {
            match leaf(address).await {
                Some(leaf) if Some(leaf.as_str()) != old => return leaf,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(45), next)
        .await
        .expect("a new certificate")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_issued_used_renewed_and_cached() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let ca = Ca::new("the ACME server's own");
    let (cert, key) = ca.issue("localhost");
    let [directory, management, dns, dns_management] = free_ports().await;

    let transport = TransportConfig {
        mode: TransportMode::Tls,
        acme: AcmeConfig {
            domain: Some(DOMAIN.into()),
            contact: vec!["ops@example.test".into()],
            directory_url: format!("https://localhost:{directory}/dir"),
            root_ca_path: Some(path("acme-ca.pem").into()),
            cache_dir: None,
        },
        ..TransportConfig::default()
    };
    std::fs::write(path("acme-ca.pem"), ca.pem()).unwrap();
    let (public, internal) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let (outside, inside) = (public.address(), internal.address());

    // The server starts first: it must tolerate an unreachable ACME server.
    let server = Server::new(&LimitsConfig::default(), &ConnectionConfig::default(), Clock::system());
    server.serve_tls(public, build_acme_context(&transport, dir.path()).unwrap(), app());
    let localhost: std::net::IpAddr = "127.0.0.1".parse().unwrap();
    server.serve_internal(internal, vec![localhost.into()], app());
    assert_eq!(leaf(outside).await, None);
    let answer = exchange(inside, "GET /up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let config = serde_json::json!({"pebble": {
        "listenAddress": format!("127.0.0.1:{directory}"),
        "managementListenAddress": format!("127.0.0.1:{management}"),
        "certificate": path("pebble.pem"),
        "privateKey": path("pebble.key"),
        "httpPort": 1,
        "tlsPort": outside.port(),
        "certificateValidityPeriod": 15,
    }});
    std::fs::write(path("pebble.pem"), cert).unwrap();
    std::fs::write(path("pebble.key"), key).unwrap();
    std::fs::write(path("pebble.json"), config.to_string()).unwrap();
    let (dns, dns_management) = (format!("127.0.0.1:{dns}"), format!("127.0.0.1:{dns_management}"));
    let _dns = spawn(
        "pebble-challtestsrv",
        &[
            "-dns01",
            &dns,
            "-management",
            &dns_management,
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-defaultIPv6",
            "",
        ],
    );
    let _pebble = spawn(
        "pebble",
        &["-config", &path("pebble.json"), "-dnsserver", &dns, "-strict"],
    );

    let first = next_leaf(outside, None).await;
    let root = [
        "-sk",
        &format!("https://localhost:{management}/roots/0"),
        "-o",
        &path("root.pem"),
    ];
    assert!(run("curl", root.map(str::to_owned).into()).await.status.success());
    let url = format!("https://{DOMAIN}:{}/", outside.port());
    let resolve = format!("{DOMAIN}:{}:127.0.0.1", outside.port());
    let ask = ["-sS", "--cacert", &path("root.pem"), "--resolve", &resolve, &url];
    let output = run("curl", ask.map(str::to_owned).into()).await;
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("over TLS"),
        "{output:?}"
    );

    let second = next_leaf(outside, Some(&first)).await;

    // The cache is private, and a restart uses it.
    let mode = std::fs::metadata(path("acme")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    let kept = || {
        let files = std::fs::read_dir(path("acme")).unwrap();
        files
            .filter(|file| {
                let text = std::fs::read(file.as_ref().unwrap().path()).unwrap();
                String::from_utf8_lossy(&text)
                    .replace("\r\n", "\n")
                    .contains(second.trim_matches('-').trim())
            })
            .count()
    };
    until("the certificate to be kept", || kept() == 1).await;
    drop((_pebble, _dns));
    let again = Server::new(&LimitsConfig::default(), &ConnectionConfig::default(), Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    again.serve_tls(listener, build_acme_context(&transport, dir.path()).unwrap(), app());
    assert_eq!(next_leaf(address, None).await, second);
}

#[tokio::test]
async fn configurations_that_cannot_work_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut transport = TransportConfig::default();
    let error = |transport: &TransportConfig| build_acme_context(transport, dir.path()).unwrap_err().to_string();
    assert_eq!(error(&transport), "transport.acme: domain is not set");

    transport.acme.domain = Some(DOMAIN.into());
    transport.acme.root_ca_path = Some("/nonexistent.pem".into());
    assert_eq!(
        error(&transport),
        "transport.acme.root_ca_path: /nonexistent.pem does not exist"
    );

    std::fs::write(dir.path().join("file"), "").unwrap();
    transport.acme.cache_dir = Some(dir.path().join("file"));
    assert!(error(&transport).starts_with("transport.acme: cannot keep certificates in "));
}
