//! Automatic HTTPS with the Rails form's `domain`, against pebble, an ACME test server.

use std::{
    fs,
    process::{Child, Stdio},
};

use super::support::{
    certs::{Ca, Certs},
    curl::{Curl, openssl},
    http::{Request, escape},
    peers::{self, free_address},
    server::{Server, Setup},
    tokens::STREAM,
    until,
};

const DOMAIN: &str = "streams.example.test";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(name: &str, arguments: &[&str]) -> Running {
    let mut command = peers::command(name);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    // By default pebble sleeps and rejects nonces at random.
    command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
    Running(command.spawn().unwrap())
}

/// The port for pebble; the server reads `directory`.
struct Acme {
    directory: u16,
    management: u16,
    dns: String,
    dns_management: String,
}

impl Acme {
    fn new() -> Self {
        Self {
            directory: free_address().port(),
            management: free_address().port(),
            dns: free_address().to_string(),
            dns_management: free_address().to_string(),
        }
    }

    /// Issues short-lived certificates, after validation on the server's own port.
    fn start(&self, certs: &Certs, public: u16) -> [Running; 2] {
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{}", self.directory),
            "managementListenAddress": format!("127.0.0.1:{}", self.management),
            "certificate": certs.text("server.pem"),
            "privateKey": certs.text("server.key"),
            "httpPort": 1,
            "tlsPort": public,
            "certificateValidityPeriod": 24,
        }});
        certs.write("pebble.json", &config.to_string());
        let (dns, management) = (self.dns.as_str(), self.dns_management.as_str());
        let off = ["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""];
        let dns_server = [&["-dns01", dns, "-management", management][..], &off].concat();
        [
            spawn("pebble-challtestsrv", &dns_server),
            spawn(
                "pebble",
                &["-config", &certs.text("pebble.json"), "-dnsserver", dns, "-strict"],
            ),
        ]
    }
}

/// The certificate presented for the domain, if any.
fn presented_certificate(server: &Server) -> Option<String> {
    let (_, said) = openssl(server.public, &["-servername", DOMAIN]);
    let (_, behind) = said.split_once("BEGIN CERTIFICATE-----")?;
    Some(behind.split_once("-----END")?.0.to_owned())
}

fn wait_for_new_certificate(server: &Server, old: Option<&str>) -> String {
    let mut found = None;
    until("another certificate", || {
        found = presented_certificate(server).filter(|shown| Some(shown.as_str()) != old);
        found.is_some()
    });
    found.unwrap()
}

fn setup(acme: &Acme, public: u16) -> Setup {
    let mut setup = Setup::new().gated().internal("127.0.0.1");
    setup.variables.remove("DS_SERVER__BIND_ADDRESS");
    let text = format!("production:\n  domain: {DOMAIN}:{public}\n  bind: 127.0.0.1\n  storage:\n    data_dir: data\n");
    fs::write(setup.dir.path().join("durable_streams.yml"), text).unwrap();
    setup.arguments = ["--config", "durable_streams.yml", "--env", "production"]
        .map(str::to_owned)
        .into();
    let directory = format!("https://localhost:{}/dir", acme.directory);
    let root = setup.dir.path().join("ca.pem").display().to_string();
    setup
        .with("transport.acme.directory_url", directory)
        .with("transport.acme.root_ca_path", root)
}

#[test]
fn a_domain_gets_renews_and_keeps_a_certificate_while_a_reader_stays() {
    let acme = Acme::new();
    let setup = setup(&acme, free_address().port());
    let certs = Certs::new(setup.dir.path());
    let server = setup.start();
    let public = server.public.port();

    // The internal listener works while the ACME server is unreachable.
    assert_eq!(presented_certificate(&server), None);
    Request::new(server.internal(), "GET", "/up").send().expect(200);
    let path = format!("/v1/streams/{}", escape(STREAM));
    let inside = |method: &str| Request::new(server.internal(), method, &path).token(&server.server_token());
    inside("PUT").text("early").send().expect(201);

    let pebble = acme.start(&certs, public);
    let first = wait_for_new_certificate(&server, None);
    let roots = format!("https://localhost:{}/roots/0", acme.management);
    let root = Curl::to(&certs, &roots).send().expect(200).text();
    certs.write("root.pem", &root);
    let resolve = format!("{DOMAIN}:{public}:127.0.0.1");
    let token = server.client_token(STREAM, &["read"]);
    let client = |query: &str| {
        let url = format!("https://{DOMAIN}:{public}{path}?{query}token={token}");
        Curl::to(&certs, &url).with(&["--cacert", &certs.text("root.pem"), "--resolve", &resolve])
    };
    let (version, answer) = client("").try_send().unwrap();
    assert_eq!((version.as_str(), answer.text().as_str()), ("HTTP/2", "early"));

    let mut reader = client("offset=-1&live=sse&").follow();
    reader.lines.wait_for("data:early");
    wait_for_new_certificate(&server, Some(&first));
    inside("POST").text("later").send().expect(204);
    reader.lines.wait_for("data:later");
    assert!(reader.goes_on());
    drop(reader);

    // No ACME server is running, so this certificate comes from the cache.
    drop(pebble);
    server.stop();
    let server = setup.start();
    wait_for_new_certificate(&server, None);
}

/// ACME servers rate-limit failures, so a restart must not reset the backoff.
#[test]
fn a_failed_validation_is_not_repeated_at_once_nor_by_a_restart() {
    let acme = Acme::new();
    let setup = setup(&acme, free_address().port());
    let certs = Certs::new(setup.dir.path());
    // The domain resolves to another server.
    let _pebble = acme.start(&certs, free_address().port());
    let server = setup.start();
    let failed = server.log.wait_for("automatic HTTPS: no certificate");
    let wait = failed.split_once("retry_secs=").unwrap().1;
    let wait: u64 = wait
        .chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap();
    assert!((600..=720).contains(&wait), "{failed}");
    assert_eq!(server.log.text().matches("no certificate").count(), 1);
    server.stop();

    let server = setup.start();
    let waiting = server.log.wait_for("automatic HTTPS: waiting before the next attempt");
    assert!(waiting.contains("failures=1"), "{waiting}");
    assert!(server.log.find("no certificate").is_none());
    Request::new(server.internal(), "GET", "/up").send().expect(200);
}

#[test]
fn a_missing_or_invalid_root_directory_is_reported_at_once() {
    let setup = setup(&Acme::new(), free_address().port());
    let root = setup.dir.path().join("ca.pem");
    let last = |error: &str| error.lines().last().unwrap_or_default().to_owned();
    let (code, _, error) = setup.run(&[]);
    let message = format!(
        "[check_tls_files] transport.acme.root_ca_path: {} does not exist",
        root.display()
    );
    assert_eq!((code, last(&error)), (78, message));
    fs::write(&root, "").unwrap();
    let (code, _, error) = setup.run(&[]);
    let message = format!(
        "[build_tls_context] transport.acme.root_ca_path: {} contains no certificate",
        root.display()
    );
    assert_eq!((code, last(&error)), (1, message));
    // A file blocks the certificate cache directory.
    fs::write(&root, Ca::new("directory").pem()).unwrap();
    fs::remove_dir_all(setup.data_dir().join("acme")).unwrap();
    fs::write(setup.data_dir().join("acme"), "").unwrap();
    let (code, _, error) = setup.run(&[]);
    let message = last(&error);
    assert!(message.starts_with("[build_tls_context] transport.acme: cannot keep certificates in "));
    assert_eq!(code, 1);
}
