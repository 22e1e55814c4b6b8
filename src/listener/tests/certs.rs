//! A CA and its certificates, in a temporary directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::listener::{TransportConfig, TransportMode};

pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, as PEM.
    pub(super) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let cert = params.signed_by(&key, &self.0).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

/// Certificates on disk, for a server at `localhost` and its clients.
pub(super) struct Files {
    pub(super) dir: TempDir,
    pub(super) ca: Ca,
}

impl Files {
    pub(super) fn new() -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
            ca: Ca::new("server CA"),
        };
        files.write("ca.pem", files.ca.pem());
        files.renew();
        let clients = Ca::new("client CA");
        files.write("client-ca.pem", clients.pem());
        for (name, ca) in [("client", &clients), ("stranger", &Ca::new("another CA"))] {
            let (cert, key) = ca.issue(name);
            files.write(&format!("{name}.pem"), &cert);
            files.write(&format!("{name}.key"), &key);
        }
        files
    }

    /// Replaces the server's certificate and key.
    pub(super) fn renew(&self) {
        let (cert, key) = self.ca.issue("localhost");
        self.write("server.pem", &cert);
        self.write("server.key", &key);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    pub(super) fn transport(&self, mode: TransportMode) -> TransportConfig {
        let mut transport = TransportConfig {
            mode,
            ..TransportConfig::default()
        };
        let tls = &mut transport.tls;
        tls.cert_path = Some(self.path("server.pem"));
        tls.key_path = Some(self.path("server.key"));
        tls.client_ca_path = Some(self.path("client-ca.pem"));
        tls.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
        tls.reload_secs = 1;
        transport
    }
}

/// Runs a command to its end without blocking the runtime.
pub(super) async fn run(program: &'static str, arguments: Vec<String>) -> Output {
    tokio::task::spawn_blocking(move || {
        Command::new(program)
            .args(arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"))
    })
    .await
    .unwrap()
}

/// A GET by curl, which trusts `ca`: the response, or curl's error.
pub(super) async fn curl(ca: &Path, port: u16, more: &[&str]) -> Result<String, String> {
    let mut arguments: Vec<String> = ["-sS", "--max-time", "10", "--noproxy", "*", "--cacert"]
        .map(str::to_owned)
        .into();
    arguments.push(ca.display().to_string());
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    arguments.push(format!("https://localhost:{port}/"));
    let output = run("curl", arguments).await;
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}
