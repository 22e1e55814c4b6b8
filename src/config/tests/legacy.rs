use super::*;

const BEFORE: &str = r#"
[server]
port = 4437

[tls]
cert_path = "/etc/ds/server.crt"
key_path = "/etc/ds/server.key"

[log]
rust_log = "info"
"#;

const AFTER: &str = r#"
[server]
bind_address = "0.0.0.0:4437"

[transport]
mode = "tls"

[transport.http]
versions = ["http1", "http2"]

[transport.tls]
cert_path = "/etc/ds/server.crt"
key_path = "/etc/ds/server.key"
alpn_protocols = ["http/1.1", "h2"]

[observability]
rust_log = "info"
"#;

#[test]
fn former_and_new_keys_make_the_same_configuration() {
    assert_eq!(toml(BEFORE).ok().config, toml(AFTER).ok().config);
}

#[test]
fn each_former_key_is_warned_of_with_its_new_name() {
    let place = toml(BEFORE).var("DS_AUTH__MODE", "none");
    assert_eq!(
        place.warnings(),
        [
            "server.toml:3: server.port: is a former key; write \"server.bind_address\" instead",
            "server.toml:6: tls.cert_path: is a former key; write \"transport.tls.cert_path\" instead",
            "server.toml:7: tls.key_path: is a former key; write \"transport.tls.key_path\" instead",
            "server.toml:10: log.rust_log: is a former key; write \"observability.rust_log\" instead",
        ]
    );
}

#[test]
fn a_former_key_beside_its_new_name_is_refused() {
    let place = toml("[server]\nbind_address = \"0.0.0.0:1\"\nport = 2\n");
    assert_eq!(
        place.error(),
        "[load_config] server.toml:3: server.port: is the former key of \"server.bind_address\", \
         which is set here too; remove this one"
    );
}

#[test]
fn a_former_tls_section_does_not_weaken_mutual_tls() {
    let place = toml("[tls]\ncert_path = \"/c\"\nkey_path = \"/k\"\n")
        .profile("prod-mtls")
        .var("DS_TRANSPORT__TLS__CLIENT_CA_PATH", "/ca")
        .var("DS_AUTH__MODE", "none");
    assert_eq!(place.ok().config.transport.mode, TransportMode::Mtls);
}

#[test]
fn former_keys_are_checked_like_any_other() {
    assert_eq!(
        toml("[server]\nport = 70000\n[tls]\ncert_pth = \"/c\"\n[log]\nrust_log = 3\n").error(),
        "[load_config] 3 problems\n  \
         server.toml:2: server.port: expected a port number from 0 to 65535, found 70000\n  \
         server.toml:4: tls.cert_pth: unknown key (did you mean \"transport.tls.cert_path\"?)\n  \
         server.toml:6: observability.rust_log: expected text, found the number 3\n  \
         warning: server.toml:6: log.rust_log: is a former key; write \"observability.rust_log\" instead"
    );
    let place = Fixture::new()
        .var("DS_SERVER__PORT", "5000")
        .var("DS_AUTH__MODE", "none");
    assert_eq!(place.ok().config.server.bind_address.port(), 5000);
    assert_eq!(
        place.warnings(),
        ["DS_SERVER__PORT: server.port: is a former key; write DS_SERVER__BIND_ADDRESS instead"]
    );
}

#[test]
fn the_former_log_variable_overrides_rust_log() {
    let place = Fixture::new().var("DS_LOG__RUST_LOG", "warn").var("RUST_LOG", "debug");
    assert_eq!(place.ok().config.observability.rust_log, "warn");
}
