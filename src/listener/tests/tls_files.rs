//! Faults of the TLS files, and the error for each.

use std::path::PathBuf;

use super::certs::Files;
use crate::{
    listener::{TransportConfig, TransportMode},
    listener::{build_tls_context, check_tls_files, tls::files::TlsFileError},
};

fn build_error(transport: &TransportConfig) -> String {
    build_tls_context(transport).unwrap_err().to_string()
}

#[test]
fn all_missing_files_are_named() {
    let files = Files::new();
    let mut transport = files.transport(TransportMode::Mtls);
    check_tls_files(&transport).unwrap();

    transport.tls.cert_path = Some("/nonexistent/server.pem".into());
    transport.tls.key_path = Some(files.dir.path().into());
    let errors = check_tls_files(&transport).unwrap_err();
    assert!(
        matches!(
            &errors[..],
            [TlsFileError::Missing { .. }, TlsFileError::Directory { .. }]
        ),
        "{errors:?}"
    );
    assert_eq!(
        errors[0].to_string(),
        "transport.tls.cert_path: /nonexistent/server.pem does not exist"
    );

    transport.tls.client_ca_path = None;
    assert_eq!(
        check_tls_files(&transport).unwrap_err()[0].to_string(),
        "transport.tls.client_ca_path is not set"
    );
    // Mode `tls` does not need it.
    transport.mode = TransportMode::Tls;
    assert_eq!(check_tls_files(&transport).unwrap_err().len(), 2);
}

#[test]
fn an_unreadable_file_is_named() {
    let files = Files::new();
    let mut transport = files.transport(TransportMode::Tls);
    // Even root cannot open a symbolic link to itself.
    let path: PathBuf = files.path("loop");
    std::os::unix::fs::symlink(&path, &path).unwrap();
    transport.tls.key_path = Some(path);
    let errors = check_tls_files(&transport).unwrap_err();
    assert!(matches!(&errors[..], [TlsFileError::Unreadable { .. }]), "{errors:?}");
}

#[test]
fn malformed_contents_are_reported() {
    let files = Files::new();
    let transport = files.transport(TransportMode::Mtls);
    build_tls_context(&transport).unwrap();

    let good =
        ["server.pem", "server.key", "client-ca.pem"].map(|name| (name, std::fs::read(files.path(name)).unwrap()));
    let (_, other_key) = files.ca.issue("localhost");
    let broken_pem = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let broken_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (file, contents, expected) in [
        ("server.pem", "", "contains no certificate"),
        ("server.pem", "rubbish", "contains no certificate"),
        ("server.pem", broken_pem, "cert_path: "),
        ("server.pem", broken_der, "cert_path: "),
        ("server.key", "", "contains no private key"),
        ("server.key", broken_key, "is malformed"),
        ("server.key", &other_key, "does not match the certificate"),
        ("client-ca.pem", "", "contains no certificate"),
        ("client-ca.pem", broken_pem, "is not a usable CA bundle"),
        ("client-ca.pem", broken_der, "is not a usable CA bundle"),
    ] {
        for (name, contents) in &good {
            files.write(name, contents);
        }
        files.write(file, contents);
        let error = build_error(&transport);
        assert!(error.contains(expected), "{file} as {contents:?}: {error}");
        assert!(error.contains(file), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
