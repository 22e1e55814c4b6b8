//! A server CA, a client CA, an unknown CA, and certificates signed by them, on disk.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

pub struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this name and 127.0.0.1, and its key.
    pub fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// The files of a server on `localhost` and its clients.
pub struct Certs {
    dir: PathBuf,
    ca: Ca,
}

impl Certs {
    pub fn new(dir: &Path) -> Self {
        let certs = Self {
            dir: dir.to_owned(),
            ca: Ca::new("server CA"),
        };
        certs.write("ca.pem", &certs.ca.pem());
        certs.renew();
        let clients = Ca::new("client CA");
        certs.write("client-ca.pem", &clients.pem());
        for (name, ca) in [("client", &clients), ("stranger", &Ca::new("another CA"))] {
            let (cert, key) = ca.issue(name);
            certs.write(&format!("{name}.pem"), &cert);
            certs.write(&format!("{name}.key"), &key);
        }
        certs
    }

    pub fn renew(&self) {
        let (cert, key) = self.ca.issue("localhost");
        self.write("server.pem", &cert);
        self.write("server.key", &key);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, contents: &str) {
        std::fs::write(self.path(name), contents).unwrap();
    }
}
