//! Failures of each start-up phase. The message names the phase, appears once and comes last; the
//! exit code says whether a retry can help.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::support::{
    certs::{Ca, Certs},
    server::{Setup, run},
    unprivileged::{self, Net},
};

/// The final error message, from the phase on; it must appear once.
#[track_caller]
fn failure(error: &str) -> String {
    let phases: Vec<_> = error.match_indices("\n[").map(|(at, _)| at + 1).collect();
    assert!(!error.contains("panicked"), "{error}");
    let start = if error.starts_with('[') {
        assert!(phases.is_empty(), "two messages:\n{error}");
        0
    } else {
        assert_eq!(phases.len(), 1, "not one message:\n{error}");
        phases[0]
    };
    error[start..].trim_end().to_owned()
}

#[track_caller]
fn fails(setup: &Setup, arguments: &[&str], code: i32, message: &str) {
    let (exit, out, error) = setup.run(arguments);
    assert_eq!(failure(&error), message, "{error}");
    assert_eq!(exit, code, "{error}");
    assert_eq!(out, "");
}

/// As [`fails`], for messages that quote a library or the system.
#[track_caller]
fn fails_with(setup: &Setup, code: i32, begin: &str, within: &str) {
    let (exit, _, error) = setup.run(&[]);
    let message = failure(&error);
    assert!(message.starts_with(begin) && message.contains(within), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert_eq!(exit, code, "{error}");
}

fn tls(mode: &str) -> (Setup, Certs) {
    let setup = Setup::new();
    let certs = Certs::new(setup.dir.path());
    let mut setup = setup
        .with("transport.mode", mode)
        .with("transport.tls.cert_path", certs.text("server.pem"))
        .with("transport.tls.key_path", certs.text("server.key"));
    if mode == "mtls" {
        setup = setup.with("transport.tls.client_ca_path", certs.text("client-ca.pem"));
    }
    (setup, certs)
}

// --- [load_config] -----------------------------------------------------------------------------

#[test]
fn load_config_toml_syntax_in_any_of_the_files() {
    let setup = Setup::new();
    let config = setup.dir.path().join("config");
    fs::create_dir(&config).unwrap();
    for name in ["default.toml", "dev.toml", "local.toml"] {
        fs::write(config.join(name), "\n[server\n").unwrap();
        let message = format!("[load_config] config/{name}:2: TOML syntax: unclosed table, expected `]`");
        fails(&setup, &["--profile", "dev"], 78, &message);
        fs::remove_file(config.join(name)).unwrap();
    }
    let path = setup.dir.path().join("my.toml");
    fs::write(&path, "[server]\nbind_address = \n").unwrap();
    let (code, _, error) = setup.run(&["--config", "my.toml"]);
    let message = failure(&error);
    assert!(
        message.starts_with("[load_config] my.toml:2: TOML syntax: "),
        "{message}"
    );
    assert_eq!(code, 78);
}

#[test]
fn load_config_a_missing_file() {
    let setup = Setup::new();
    fails(
        &setup,
        &["--config", "no.toml"],
        78,
        "[load_config] no.toml: no such file",
    );
    fails(
        &setup,
        &["--config", "no.yml"],
        78,
        "[load_config] no.yml: no such file",
    );
    fs::create_dir(setup.dir.path().join("dir.toml")).unwrap();
    let message = "[load_config] dir.toml: is a directory, not a file";
    fails(&setup, &["--config", "dir.toml"], 78, message);
    let (code, _, error) = setup.run(&["--profile", "prod-tsl"]);
    assert!(failure(&error).contains("did you mean \"prod-tls\"?"), "{error}");
    assert_eq!(code, 78);
}

#[test]
fn load_config_unknown_variables() {
    let setup = Setup::new().with("transport.mode", "quic");
    let message = "[load_config] DS_TRANSPORT__MODE: transport.mode: \"quic\" is not one of http, tls, mtls";
    fails(&setup, &[], 78, message);
    let setup = Setup::new().with("transport.tls.min_version", "1.1");
    let message = "[load_config] DS_TRANSPORT__TLS__MIN_VERSION: transport.tls.min_version: \
                   \"1.1\" is not one of 1.2, 1.3 (did you mean \"1.3\"?)";
    fails(&setup, &[], 78, message);
}

#[test]
fn load_config_reports_all_problems_with_file_and_key() {
    let setup = Setup::new().with("limits.max_streams", "many");
    fs::write(
        setup.dir.path().join("my.toml"),
        "[server]\nbind_adress = \"127.0.0.1:1\"\n[storage]\nmode = \"tape\"\n",
    )
    .unwrap();
    let (code, _, error) = setup.run(&["--config", "my.toml"]);
    let message = failure(&error);
    assert_eq!(code, 78);
    assert!(message.starts_with("[load_config] 3 problems\n"), "{message}");
    for part in [
        "my.toml:2: server.bind_adress: unknown key (did you mean \"server.bind_address\"?)",
        "my.toml:4: storage.mode: \"tape\"",
        "DS_LIMITS__MAX_STREAMS: limits.max_streams: expected a whole number",
    ] {
        assert!(message.contains(part), "{part:?} is missing:\n{message}");
    }
}

// --- [validate_config] -------------------------------------------------------------------------

#[test]
fn validate_config_each_cause_of_the_documentation() {
    let proxy = "[proxy]\nenabled = true\nforwarded_headers = \"forwarded\"\n";
    let trusting = format!("{proxy}trusted_proxies = [\"10.0.0.1\"]\n");
    let files = "cert_path = \"/a\"\nkey_path = \"/b\"\n";
    for (text, part) in [
        (
            "[transport]\nmode = \"tls\"\n[transport.tls]\ncert_path = \"/a\"\n".to_owned(),
            "transport.mode = \"tls\" needs transport.tls.key_path, which is not set",
        ),
        (
            format!("[transport]\nmode = \"mtls\"\n[transport.tls]\n{files}"),
            "transport.mode = \"mtls\" needs transport.tls.client_ca_path, which is not set",
        ),
        (
            "[transport.tls]\nkey_path = \"/b\"\n".to_owned(),
            "transport.tls.key_path is set, but transport.mode is \"http\"",
        ),
        (
            format!("[transport]\nmode = \"tls\"\nhttp.versions = [\"http1\", \"http2\"]\n[transport.tls]\n{files}"),
            "transport.http.versions contains \"http2\", but transport.tls.alpn_protocols does not contain \"h2\"",
        ),
        (
            "[transport.http]\nversions = [\"http1\", \"http3\"]\n".to_owned(),
            "http3 is not implemented; http1 and http2 are",
        ),
        (proxy.to_owned(), "proxy.enabled = true needs proxy.trusted_proxies"),
        (
            format!("{trusting}[proxy.identity]\nmode = \"header\"\nheader_name = \"x-id\"\n"),
            "\"header\" needs transport.mode = \"mtls\"",
        ),
        (
            format!("{proxy}trusted_proxies = [\"10.0.0.0/33\"]\n"),
            "\"10.0.0.0/33\" is not an IP address or CIDR block",
        ),
        (
            "[server]\nbind_address = \"nowhere\"\n".to_owned(),
            "\"nowhere\" is not an address with a port",
        ),
        (
            "[http]\nstream_base_path = \"v1\"\n".to_owned(),
            "\"v1\" must begin with \"/\"",
        ),
    ] {
        let mut setup = Setup::new();
        setup.variables.remove("DS_SERVER__BIND_ADDRESS");
        fs::write(setup.dir.path().join("my.toml"), &text).unwrap();
        let (code, _, error) = setup.run(&["--config", "my.toml"]);
        let message = failure(&error);
        assert!(message.starts_with("[validate_config] my.toml:"), "{text}\n{message}");
        assert!(message.contains(part), "{text}\n{message}");
        assert_eq!(message.lines().count(), 1, "{text}\n{message}");
        assert_eq!(code, 78, "{text}");
    }
}

// --- [check_tls_files] -------------------------------------------------------------------------

#[test]
fn check_tls_files_missing() {
    let (setup, certs) = tls("mtls");
    for (name, key) in [
        ("server.pem", "cert_path"),
        ("server.key", "key_path"),
        ("client-ca.pem", "client_ca_path"),
    ] {
        let (path, aside) = (certs.path(name), certs.path("aside"));
        fs::rename(&path, &aside).unwrap();
        let message = format!(
            "[check_tls_files] transport.tls.{key}: {} does not exist",
            path.display()
        );
        fails(&setup, &[], 78, &message);
        fs::rename(&aside, &path).unwrap();
    }
    // A dangling symbolic link, as an interrupted deployment leaves.
    fs::remove_file(certs.path("server.key")).unwrap();
    symlink("gone.key", certs.path("server.key")).unwrap();
    let message = format!(
        "[check_tls_files] transport.tls.key_path: {} does not exist",
        certs.text("server.key")
    );
    fails(&setup, &[], 78, &message);
}

#[test]
fn check_tls_files_a_directory() {
    let (setup, certs) = tls("tls");
    let dir = certs.text("");
    let dir = dir.trim_end_matches('/');
    let setup = setup.with("transport.tls.cert_path", dir);
    fs::remove_file(certs.path("server.key")).unwrap();
    let message = format!(
        "[check_tls_files] 2 problems\n  transport.tls.cert_path: {dir} is a directory, not a file\n  \
         transport.tls.key_path: {dir}/server.key does not exist"
    );
    fails(&setup, &[], 78, &message);
}

#[test]
fn check_tls_files_unreadable_for_the_service_user() {
    let (setup, certs) = tls("tls");
    for name in ["server.pem", "server.key"] {
        fs::set_permissions(certs.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(certs.path("server.key"), fs::Permissions::from_mode(0o000)).unwrap();
    let (code, _, error) = run(unprivileged::command(&setup, Net::Shared));
    let message = format!(
        "[check_tls_files] transport.tls.key_path: {} cannot be read: Permission denied (os error 13)",
        certs.text("server.key")
    );
    assert_eq!(failure(&error), message);
    assert_eq!(code, 78);
}

// --- [build_tls_context] -----------------------------------------------------------------------

#[test]
fn build_tls_context_malformed_pem() {
    let (setup, certs) = tls("tls");
    let garbled = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    certs.write("server.pem", garbled);
    let begin = format!(
        "[build_tls_context] transport.tls.cert_path: {} is malformed: ",
        certs.text("server.pem")
    );
    fails_with(&setup, 1, &begin, "base64");
    // Valid PEM around an invalid certificate.
    certs.write("server.pem", &garbled.replace("!!!!", "AAAA"));
    fails_with(&setup, 1, &begin, "");
    certs.renew();
    certs.write(
        "server.key",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let begin = format!(
        "[build_tls_context] transport.tls.key_path: {} is malformed: ",
        certs.text("server.key")
    );
    fails_with(&setup, 1, &begin, "");
}

#[test]
fn build_tls_context_an_empty_chain() {
    let (setup, certs) = tls("tls");
    let message = format!(
        "[build_tls_context] transport.tls.cert_path: {} contains no certificate",
        certs.text("server.pem")
    );
    for content in ["".to_owned(), fs::read_to_string(certs.path("server.key")).unwrap()] {
        certs.write("server.pem", &content);
        fails(&setup, &[], 1, &message);
    }
}

#[test]
fn build_tls_context_a_missing_or_mismatched_key() {
    let (setup, certs) = tls("tls");
    certs.write("server.key", &Ca::new("another").issue("localhost").1);
    let message = format!(
        "[build_tls_context] the private key in {} does not match the certificate in {}",
        certs.text("server.key"),
        certs.text("server.pem")
    );
    fails(&setup, &[], 1, &message);
    fs::copy(certs.path("server.pem"), certs.path("server.key")).unwrap();
    let message = format!(
        "[build_tls_context] transport.tls.key_path: {} contains no private key",
        certs.text("server.key")
    );
    fails(&setup, &[], 1, &message);
}

#[test]
fn build_tls_context_a_bad_ca_bundle() {
    let (setup, certs) = tls("mtls");
    certs.write("client-ca.pem", "");
    let path = certs.text("client-ca.pem");
    let message = format!("[build_tls_context] transport.tls.client_ca_path: {path} contains no certificate");
    fails(&setup, &[], 1, &message);
    let begin = format!("[build_tls_context] transport.tls.client_ca_path: {path} is not a usable CA bundle: ");
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    certs.write("client-ca.pem", &(Ca::new("good").pem() + bad));
    fails_with(&setup, 1, &begin, "");
}

// --- [bind_listener] ---------------------------------------------------------------------------

#[test]
fn bind_listener_an_address_in_use_public_or_internal() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let message = format!("[bind_listener] cannot listen on {address}: the address is already in use");
    let public = Setup::new().with("server.bind_address", address);
    fails(&public, &[], 1, &message);
    let internal = Setup::new().internal("127.0.0.1").with("internal.port", address.port());
    fails(&internal, &[], 1, &message);
    // The failed start leaves nothing: once the port is free, the server starts.
    drop(taken);
    public.start().stop();
}

#[test]
fn bind_listener_a_port_that_needs_privileges() {
    if unprivileged::first_open_port() <= 443 {
        // Docker allows every port in a container, so this failure cannot happen there.
        eprintln!("no port needs privileges here, so nothing was tested");
        return;
    }
    let setup = Setup::new().with("server.bind_address", "0.0.0.0:443");
    // A new network namespace has no other listeners and the default privileged ports.
    let (code, _, error) = run(unprivileged::command(&setup, Net::Own));
    let message = "[bind_listener] cannot listen on 0.0.0.0:443: no permission for this port \
                   (ports below 1024 need root or CAP_NET_BIND_SERVICE)";
    assert_eq!(failure(&error), message);
    assert_eq!(code, 1);
}

#[test]
fn bind_listener_an_address_of_another_machine() {
    // 192.0.2.0/24 is for documentation (RFC 5737).
    let setup = Setup::new().with("server.bind_address", "192.0.2.1:0");
    let message = "[bind_listener] cannot listen on 192.0.2.1:0: this machine has no such address";
    fails(&setup, &[], 1, message);
}

// --- [start_server] ----------------------------------------------------------------------------

#[test]
fn start_server_a_store_that_cannot_be_opened() {
    for mode in ["acid", "file-durable", "file-fast"] {
        let setup = Setup::new().acid().with("storage.mode", mode);
        fs::write(setup.data_dir(), "a file").unwrap();
        fails_with(&setup, 1, "[start_server] ", "not a directory");
    }
}

#[test]
fn start_server_a_damaged_store_is_neither_served_nor_replaced() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server.text_stream("a", "hello");
    server.stop();
    let store = fs::read_dir(setup.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "redb"))
        .expect("a redb file");
    let garbage = vec![0x5a; 8192];
    fs::write(&store, &garbage).unwrap();
    fails_with(
        &setup,
        1,
        &format!("[start_server] storage.data_dir {}: ", setup.data_dir().display()),
        "",
    );
    assert_eq!(fs::read(&store).unwrap(), garbage, "the operator may still want it");
}
