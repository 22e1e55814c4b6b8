//! TLS and passwords, with a real server.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::{databases::refusal, *};
use crate::test_support::postgres::{PASSWORD, USER};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate for `localhost`, and the files of its authority and of another one.
struct Encrypted {
    server: Postgres,
    dir: tempfile::TempDir,
}

impl Encrypted {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let ours = authority("ours");
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &ours).unwrap();
        for (name, content) in [
            ("ca.pem", ours.pem()),
            ("other-ca.pem", authority("another").pem()),
            ("server.pem", certificate.pem()),
            ("server.key", key.serialize_pem()),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            // PostgreSQL refuses a key that others may read.
            if name == "server.key" {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }
        let path = |name: &str| dir.path().join(name).display().to_string();
        // Root runs the server as another user, to whom the key must belong.
        let owned = Command::new("chown").args(["postgres", &path("server.key")]).status();
        let is_root = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0;
        assert!(!is_root || owned.unwrap().success());
        let (certificate, key) = (path("server.pem"), path("server.key"));
        let server = Postgres::start(&[("ssl", "on"), ("ssl_cert_file", &certificate), ("ssl_key_file", &key)]);
        Self { server, dir }
    }

    /// The URL for a host of that name, which is at the server's address.
    fn url(&self, host: &str, authority: &str, parameters: &str) -> String {
        let authority = match authority {
            "system" => authority.to_owned(),
            file => self.dir.path().join(file).display().to_string(),
        };
        format!(
            "postgres://{USER}:{PASSWORD}@{host}:{}/postgres?hostaddr=127.0.0.1&sslrootcert={authority}{parameters}",
            self.server.port(),
        )
    }
}

#[test]
fn only_a_server_with_a_certificate_of_the_authority_for_the_host_is_trusted() {
    let encrypted = Encrypted::start();
    for (host, authority, part) in [
        ("localhost", "other-ca.pem", "invalid peer certificate: UnknownIssuer"),
        (
            "db.example",
            "ca.pem",
            "invalid peer certificate: certificate not valid for name",
        ),
        ("localhost", "system", "invalid peer certificate: UnknownIssuer"),
    ] {
        let url = encrypted.url(host, authority, "&sslmode=verify-full");
        let refused = refusal(&url);
        assert!(refused.contains(part), "{host} {authority}: {refused}");
        assert!(!refused.contains(PASSWORD), "{refused}");
    }
    let url = encrypted.url("localhost", "ca.pem", "&sslmode=verify-full");
    let store = PostgresStorage::connect(&PostgresOptions::new(url, "test")).unwrap();
    super::shared::create(&store, "s", 1);
    let connections = "from pg_stat_activity a join pg_stat_ssl s using (pid) \
        where a.application_name = 'durable-streams-server'";
    assert_eq!(
        encrypted
            .server
            .sql("postgres", &format!("select distinct ssl {connections}")),
        "t"
    );
}

#[test]
fn a_server_without_tls_is_not_spoken_to_if_the_url_asks_for_it() {
    let database = Postgres::shared().database();
    let url = database.url().replace("sslmode=disable", "sslmode=verify-full");
    let refused = refusal(&url);
    assert!(refused.contains("server does not support TLS"), "{refused}");
}

#[test]
fn passwords_are_proven_over_the_channel_that_they_are_sent_on() {
    let encrypted = Encrypted::start();
    let required = "&channel_binding=require";
    let url = encrypted.url("localhost", "ca.pem", &format!("&sslmode=verify-full{required}"));
    drop(PostgresStorage::connect(&PostgresOptions::new(url.as_str(), "test")).unwrap());
    let wrong = refusal(&url.replace(PASSWORD, "wr0ng"));
    assert!(wrong.contains("password authentication failed"), "{wrong}");
    // Without TLS there is no channel to bind to.
    let plain = refusal(&encrypted.url("localhost", "ca.pem", &format!("&sslmode=disable{required}")));
    assert!(plain.contains("channel binding"), "{plain}");
}
