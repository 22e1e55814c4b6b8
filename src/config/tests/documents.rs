//! The examples of the server's documentation, as they stand there. Where a profile asks for
//! `auth`, which those examples leave to a proxy, it is written down as none.

use super::*;

const SCHEMA: &str = r#"
[server]
bind_address = "0.0.0.0:4437"

[limits]
max_memory_bytes = 104857600
max_stream_bytes = 10485760

[http]
cors_origins = "*"
stream_base_path = "/v1/stream"

[storage]
mode = "memory"
data_dir = "./data/streams"

[transport]
mode = "http" # http | tls | mtls

[transport.http]
versions = ["http1"] # http1 | http2

[transport.connection]
long_poll_timeout_secs = 30
sse_reconnect_interval_secs = 60

[transport.tls]
min_version = "1.2"
max_version = "1.3"
alpn_protocols = ["http/1.1"]

[proxy]
enabled = false
forwarded_headers = "none" # none | x-forwarded | forwarded
trusted_proxies = []

[proxy.identity]
mode = "none" # none | header
require_tls = true

[observability]
rust_log = "info"
"#;

const DIRECT_TLS: &str = r#"
[storage]
mode = "file-durable"
data_dir = "/var/lib/durable-streams"

[limits]
max_memory_bytes = 536870912
max_stream_bytes = 268435456

[transport]
mode = "tls"

[transport.http]
versions = ["http1", "http2"]

[transport.tls]
cert_path = "/etc/durable-streams/tls/server.crt"
key_path = "/etc/durable-streams/tls/server.key"
min_version = "1.2"
max_version = "1.3"
alpn_protocols = ["http/1.1", "h2"]
"#;

const DIRECT_MTLS: &str = r#"
[storage]
mode = "file-durable"
data_dir = "/var/lib/durable-streams"

[limits]
max_memory_bytes = 536870912
max_stream_bytes = 268435456

[transport]
mode = "mtls"

[transport.http]
versions = ["http1", "http2"]

[transport.tls]
cert_path = "/etc/durable-streams/tls/server.crt"
key_path = "/etc/durable-streams/tls/server.key"
client_ca_path = "/etc/durable-streams/tls/client-ca.crt"
min_version = "1.2"
max_version = "1.3"
alpn_protocols = ["http/1.1", "h2"]
"#;

const EDGE_TO_HTTP: &str = r#"
[transport]
mode = "http"

[proxy]
enabled = true
forwarded_headers = "x-forwarded"
trusted_proxies = ["10.0.0.0/24"]
"#;

const EDGE_TO_MTLS: &str = r#"
[transport]
mode = "mtls"

[transport.http]
versions = ["http1", "http2"]

[transport.tls]
cert_path = "/etc/durable-streams/tls/server.crt"
key_path = "/etc/durable-streams/tls/server.key"
client_ca_path = "/etc/durable-streams/tls/proxy-ca.crt"
alpn_protocols = ["http/1.1", "h2"]

[proxy]
enabled = true
forwarded_headers = "forwarded"
trusted_proxies = ["10.0.10.15/32", "10.0.10.16/32"]

[proxy.identity]
mode = "header"
header_name = "x-client-identity"
require_tls = true
"#;

#[test]
fn the_schema_of_the_document_is_the_defaults() {
    assert_eq!(toml(SCHEMA).ok().config, Config::default());
}

/// The examples are what their profiles are, but for paths that only an operator knows.
#[test]
fn direct_tls_and_mtls() {
    for (profile, text) in [("prod-tls", DIRECT_TLS), ("prod-mtls", DIRECT_MTLS)] {
        let bare = toml(text).var("DS_AUTH__MODE", "none").ok().config;
        let with_profile = toml(text).profile(profile).var("DS_AUTH__MODE", "none").ok().config;
        assert_eq!(bare, with_profile);
        assert_eq!(bare.storage.data_dir, PathBuf::from("/var/lib/durable-streams"));
        assert_eq!(
            bare.transport.tls.key_path,
            Some(PathBuf::from("/etc/durable-streams/tls/server.key"))
        );
    }
}

#[test]
fn proxies() {
    let config = toml(EDGE_TO_HTTP).ok().config;
    assert_eq!(config.proxy.forwarded_headers, ForwardedHeaders::XForwarded);
    assert_eq!(config.proxy.trusted_proxies, ["10.0.0.0/24".parse().unwrap()]);
    let config = toml(EDGE_TO_MTLS).ok().config;
    assert_eq!(config.proxy.identity.mode, IdentityMode::Header);
    assert_eq!(config.proxy.identity.header_name.as_deref(), Some("x-client-identity"));
    assert_eq!(config.proxy.trusted_proxies.len(), 2);
}

#[test]
fn the_variables_of_the_document() {
    let config = Fixture::new()
        .profile("dev")
        .var("DS_STORAGE__MODE", "file-durable")
        .var("DS_STORAGE__DATA_DIR", "./data")
        .var("DS_HTTP__STREAM_BASE_PATH", "/streams")
        .ok()
        .config;
    assert_eq!(config.storage.mode, StorageMode::FileDurable);
    assert_eq!(config.storage.data_dir, PathBuf::from("./data"));
    assert_eq!(config.http.stream_base_path, "/streams");
}
