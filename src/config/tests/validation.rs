use super::*;

/// Loads a text and compares the whole report; all are a matter of validation.
#[track_caller]
fn refused(text: &str, problems: &[&str]) {
    let place = toml(text);
    let error = place.load().unwrap_err();
    let lines: Vec<String> = error
        .problems()
        .iter()
        .map(|problem| place.cut(&problem.to_string()))
        .collect();
    assert_eq!(lines, problems);
    assert!(error.problems().iter().all(|problem| problem.stage == Stage::Validate));
    assert_eq!(error.stage().to_string(), "validate_config");
}

const FILES: &str = "[transport.tls]\ncert_path = \"/c\"\nkey_path = \"/k\"\n";

#[test]
fn mode_and_tls_files_agree() {
    refused(
        "[transport]\nmode = \"tls\"\n",
        &[
            "server.toml:2: transport.mode: transport.mode = \"tls\" needs transport.tls.cert_path, which is not set",
            "server.toml:2: transport.mode: transport.mode = \"tls\" needs transport.tls.key_path, which is not set",
        ],
    );
    refused(
        &format!("{FILES}[transport]\nmode = \"mtls\"\n"),
        &[
            "server.toml:5: transport.mode: transport.mode = \"mtls\" needs transport.tls.client_ca_path, which is not set",
        ],
    );
    refused(
        FILES,
        &[
            "server.toml:2: transport.tls.cert_path: transport.tls.cert_path is set, but transport.mode is \"http\": set the mode to \"tls\" or \"mtls\", or remove this key",
            "server.toml:3: transport.tls.key_path: transport.tls.key_path is set, but transport.mode is \"http\": set the mode to \"tls\" or \"mtls\", or remove this key",
        ],
    );
    refused(
        &format!("{FILES}client_ca_path = \"/ca\"\n[transport]\nmode = \"tls\"\n"),
        &[
            "server.toml:4: transport.tls.client_ca_path: transport.tls.client_ca_path is set, but transport.mode is \"tls\": set the mode to \"mtls\", or remove this key",
        ],
    );
}

#[test]
fn http_versions_and_alpn() {
    refused(
        "[transport.http]\nversions = [\"http1\", \"http3\"]\n",
        &["server.toml:2: transport.http.versions: http3 is not implemented; http1 and http2 are"],
    );
    let error = Fixture::new()
        .var("DS_TRANSPORT__HTTP__VERSIONS", "http3")
        .load()
        .unwrap_err();
    assert_eq!(error.stage(), Stage::Validate);
    refused(
        "[transport.http]\nversions = [\"http1\", \"http2\"]\n",
        &[
            "server.toml:2: transport.http.versions: \"http2\" needs TLS: with transport.mode = \"http\" there is only \"http1\"",
        ],
    );
    let tls = format!("transport.mode = \"tls\"\ntransport.http.versions = [\"http1\", \"http2\"]\n{FILES}");
    refused(
        &tls,
        &[
            "server.toml:2: transport.http.versions: transport.http.versions contains \"http2\", but transport.tls.alpn_protocols does not contain \"h2\"",
        ],
    );
    refused(
        &format!("transport.mode = \"tls\"\n{FILES}alpn_protocols = [\"h2\", \"http/1.1\", \"spdy\"]\n"),
        &[
            "server.toml:5: transport.tls.alpn_protocols: \"spdy\" is not one of http/1.1, h2",
            "server.toml:5: transport.tls.alpn_protocols: transport.tls.alpn_protocols contains \"h2\", but transport.http.versions does not contain \"http2\"",
        ],
    );
    refused(
        &format!("transport.mode = \"tls\"\ntransport.http.versions = [\"http2\"]\n{FILES}alpn_protocols = [\"h2\"]\n"),
        &["server.toml:2: transport.http.versions: must contain \"http1\", which every client can speak"],
    );
}

#[test]
fn proxies() {
    refused(
        "[proxy]\nenabled = true\nforwarded_headers = \"forwarded\"\n",
        &[
            "server.toml:2: proxy.enabled: proxy.enabled = true needs proxy.trusted_proxies: the addresses of the proxies to trust",
        ],
    );
    refused(
        "[proxy]\nenabled = true\ntrusted_proxies = [\"10.0.0.1\"]\n",
        &[
            "server.toml:2: proxy.enabled: proxy.enabled = true, but nothing is taken from the proxy: set proxy.forwarded_headers to \"x-forwarded\" or \"forwarded\"",
        ],
    );
    refused(
        "[proxy.identity]\nmode = \"header\"\n",
        &[
            "server.toml:2: proxy.identity.mode: \"header\" needs transport.mode = \"mtls\": without it anyone could send the header",
            "server.toml:2: proxy.identity.mode: \"header\" needs proxy.enabled = true",
            "server.toml:2: proxy.identity.mode: \"header\" needs proxy.identity.header_name",
        ],
    );
    refused(
        "[proxy]\ntrusted_proxies = [\"10.0.0.0/33\", \"proxy.local\", \"10.0.0.1\"]\n",
        &[
            "server.toml:2: proxy.trusted_proxies: \"10.0.0.0/33\" is not an IP address or CIDR block, such as \"10.0.0.4\" or \"10.0.0.0/24\"",
            "server.toml:2: proxy.trusted_proxies: \"proxy.local\" is not an IP address or CIDR block, such as \"10.0.0.4\" or \"10.0.0.0/24\"",
        ],
    );
}

#[test]
fn addresses() {
    refused(
        "[server]\nbind_address = \"0.0.0.0\"\n",
        &[
            "server.toml:2: server.bind_address: \"0.0.0.0\" is not an address with a port, such as \"0.0.0.0:4437\" or \"[::]:4437\"",
        ],
    );
    refused(
        "[internal]\nport = 4438\n",
        &[
            "server.toml:2: internal.port: the internal listener needs internal.allowed_ips: the addresses of the app servers, such as [\"10.0.0.4\"]",
        ],
    );
    refused(
        "[internal]\nport = 4437\nbind = \"10.0.0.5\"\nallowed_ips = [\"10.0.0.4\"]\n",
        &[
            "server.toml:2: internal.port: the internal listener (10.0.0.5:4437) and the public one (0.0.0.0:4437) want the same port",
        ],
    );
    toml("[server]\nbind_address = \"10.0.0.6:4437\"\n[internal]\nport = 4437\nbind = \"10.0.0.5\"\nallowed_ips = [\"::ffff:10.0.0.4\"]\n").ok();
    toml("[server]\nbind_address = \"127.0.0.1:0\"\n[internal]\nport = 0\nallowed_ips = [\"127.0.0.0/8\"]\n").ok();
}

#[test]
fn base_paths() {
    for good in ["/v1/stream", "/streams", "/upstream", "/metrics2/x"] {
        toml(&format!("[http]\nstream_base_path = {good:?}\n")).ok();
    }
    for bad in [
        "v1",
        "/",
        "/v1/",
        "/a?b",
        "/a#b",
        "/a%20b",
        "/a b",
        "/a//b",
        "/a/../b",
        "/up",
        "/up/x",
        "/healthz",
        "/readyz/a",
        "/metrics",
        "/v1/*",
        "/ä",
    ] {
        let error = toml(&format!("[http]\nstream_base_path = {bad:?}\n")).error();
        let start = format!("[validate_config] server.toml:2: http.stream_base_path: {bad:?} ");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn cors_origins() {
    for good in [
        "*",
        "https://a.example",
        "https://a.example, http://localhost:3000",
        "app://x",
    ] {
        toml(&format!("[http]\ncors_origins = {good:?}\n")).ok();
    }
    for bad in [
        "a.example",
        "https://a.example/",
        "https://a.example/x",
        "*,https://a.example",
        "https://u@a.example",
        "https://a,,",
    ] {
        let error = toml(&format!("[http]\ncors_origins = {bad:?}\n")).error();
        assert!(error.contains("is not an origin"), "{error}");
    }
}

#[test]
fn automatic_https() {
    let lost = "[transport.acme]\ndomain = \"streams.example.com\"\n";
    refused(
        &format!("{lost}[transport]\nmode = \"tls\"\n"),
        &[
            "server.toml:2: transport.acme.domain: automatic HTTPS needs storage.data_dir (or transport.acme.cache_dir), where the account and the certificate are kept: without it every start orders another one, and the CA's limits are soon reached",
        ],
    );
    toml(&format!("{lost}cache_dir = \"/acme\"\n[transport]\nmode = \"tls\"\n")).ok();
    toml(&format!(
        "{lost}[transport]\nmode = \"tls\"\n[storage]\ndata_dir = \"/d\"\n"
    ))
    .ok();
    let acme = &format!("{lost}cache_dir = \"/acme\"\n");
    refused(
        acme,
        &["server.toml:2: transport.acme.domain: automatic HTTPS needs transport.mode = \"tls\", not \"http\""],
    );
    refused(
        &format!("{acme}[transport]\nmode = \"tls\"\n[transport.tls]\ncert_path = \"/c\"\nkey_path = \"/k\"\n"),
        &[
            "server.toml:2: transport.acme.domain: asks for a certificate, but transport.tls.cert_path gives one: remove one of them",
            "server.toml:2: transport.acme.domain: asks for a certificate, but transport.tls.key_path gives one: remove one of them",
        ],
    );
    refused(
        "[transport.acme]\ndirectory_url = \"http://acme\"\ncontact = [\"mailto:a@b.c\"]\n",
        &[
            "server.toml:2: transport.acme.directory_url: \"http://acme\" is not an https:// URL",
            "server.toml:3: transport.acme.contact: \"mailto:a@b.c\" is not a mail address (without \"mailto:\")",
        ],
    );
}

#[test]
fn the_public_url_is_an_origin() {
    let with = |url: &str| toml(&format!("[http]\npublic_url = {url:?}\n"));
    for good in [
        "https://streams.example.com",
        "http://localhost:4437",
        "https://[2001:db8::1]:8443",
    ] {
        assert_eq!(with(good).ok().config.http.public_url.as_deref(), Some(good));
    }
    for bad in [
        "streams.example.com",
        "https://a.test/",
        "https://a.test/v1",
        "ftp://a.test",
        "https://u@a.test",
        "https://",
    ] {
        let error = with(bad).error();
        assert!(error.contains("server.toml:2: http.public_url: "), "{bad} {error}");
    }
}

#[test]
fn numbers_and_levels() {
    refused(
        "[limits]\nmax_connections = 0\nmax_header_bytes = 10\nmax_inflight_bytes = 100\n[server]\ndrain_timeout_secs = 100000\n[observability]\nrust_log = \"inof\"\n[auth]\nverify_key = \"/k\"\nleeway_secs = 3600\n",
        &[
            "server.toml:2: limits.max_connections: must be at least 1, not 0",
            "server.toml:3: limits.max_header_bytes: must be at least 4096, not 10: a token in a header or URL would not fit",
            "server.toml:4: limits.max_inflight_bytes: limits.max_body_bytes (10485760) is more than limits.max_inflight_bytes (100): such a body could never be accepted",
            "server.toml:6: server.drain_timeout_secs: must be at most 86400, not 100000",
            "server.toml:8: observability.rust_log: \"inof\" is not a log level (did you mean \"info\"?)",
            "server.toml:11: auth.leeway_secs: must be at most 300, not 3600: expired tokens would be accepted for that long",
        ],
    );
    for good in ["debug", "INFO", "info,hyper=warn", "durable_streams_server=trace,off"] {
        toml(&format!("[observability]\nrust_log = {good:?}\n")).ok();
    }
}

#[test]
fn limits_stay_in_their_ranges() {
    refused(
        "[limits]\nmax_json_depth = 0\nmax_producers_per_stream = 100001\n",
        &[
            "server.toml:2: limits.max_json_depth: must be from 1 to 1000, not 0",
            "server.toml:3: limits.max_producers_per_stream: must be from 1 to 100000, not 100001",
        ],
    );
    toml("[limits]\nmax_json_depth = 1000\nmax_producers_per_stream = 1\n").ok();
}

#[test]
fn auth_needs_its_key() {
    refused(
        "[auth]\nissuer = \"https://your-app.com\"\n",
        &[
            "server.toml:2: auth.issuer: auth.verify_key is missing: write auth.verify_key, or auth.mode = \"none\" for an open server",
        ],
    );
    refused(
        "[auth]\n",
        &[
            "auth.verify_key: auth.verify_key is missing: write auth.verify_key, or auth.mode = \"none\" for an open server",
        ],
    );
}

/// An unreadable value causes no further problems with the keys that depend on it.
#[test]
fn an_invalid_value_causes_no_further_problems() {
    assert_eq!(
        toml("[transport]\nmode = \"tsl\"\n[transport.tls]\ncert_path = \"/c\"\nkey_path = \"/k\"\n").error(),
        "[load_config] server.toml:2: transport.mode: \"tsl\" is not one of http, tls, mtls (did you mean \"tls\"?)"
    );
}

#[test]
fn a_retention_rule_beyond_the_stream_limit_is_warned_of() {
    let rules = |limit: u64| {
        let rules = "[retention]\nrules = [{ streams = \"*\", max_bytes = 2000 }]\n";
        let place = toml(&format!("{rules}[limits]\nmax_stream_bytes = {limit}\n"));
        let warnings = place.ok().warnings;
        warnings
            .iter()
            .any(|warning| warning.to_string().contains("a rule keeps more"))
    };
    assert!(rules(1000));
    assert!(!rules(2000));
    assert!(!rules(0));
}
