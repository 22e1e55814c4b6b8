use super::*;

/// The first YAML of the gem's documentation.
const SERVER_CONFIG: &str = "\
default: &default
  port: 4437
  auth:
    verify_key: config/caddy/verify_key.pem
    issuer: https://localhost:3000
    audience: https://localhost:4437/v1/streams

development:
  <<: *default

production:
  domain: streams.example.com
  tls:
    cert: /etc/caddy/certs/cert.pem
    key: /etc/caddy/certs/key.pem
  auth:
    verify_key: /etc/durable_streams/verify_key.pem
    issuer: https://your-app.com
    audience: https://streams.example.com/v1/streams
  storage:
    data_dir: /var/data/durable-streams
";

/// The second.
const MULTI_SERVER: &str = "\
production:
  domain: streams.example.com
  tls:
    cert: /etc/caddy/certs/cert.pem
    key: /etc/caddy/certs/key.pem
  internal:
    port: 4437
    bind: 10.0.0.5
    allowed_ips:
      - 10.0.0.4
  auth:
    verify_key: /etc/durable_streams/verify_key.pem
    issuer: https://your-app.com
    audience: https://streams.example.com/v1/streams
  storage:
    data_dir: /data/streams
";

const OPEN: &str = "\n  auth:\n    mode: none\n";

/// One environment that is open, with these lines.
pub(super) fn open(lines: &str) -> Fixture {
    rails("test", &format!("test:\n{lines}{OPEN}"))
}

#[test]
fn development_of_the_document() {
    let place = rails("development", SERVER_CONFIG);
    let loaded = place.ok();
    let config = &loaded.config;
    assert_eq!(config.server.bind_address, "0.0.0.0:4437".parse().unwrap());
    assert_eq!(config.transport, TransportConfig::default());
    assert_eq!(config.http.stream_base_path, "/v1/streams");
    assert_eq!(config.storage.mode, StorageMode::Memory);
    assert_eq!(config.limits, LimitsConfig::default());
    let auth = config.auth.as_ref().unwrap();
    assert_eq!(auth.verify_key, PathBuf::from("config/caddy/verify_key.pem"));
    assert_eq!(auth.issuer, ["https://localhost:3000"]);
    assert_eq!(auth.audience, ["https://localhost:4437/v1/streams"]);
    assert!(loaded.warnings.is_empty());
    let origin = |key: &str| place.cut(&loaded.layers.origin(key).to_string());
    assert_eq!(origin("auth.issuer"), "config/durable_streams.yml:5");
    assert_eq!(origin("server.bind_address"), "config/durable_streams.yml:2");
}

#[test]
fn production_of_both_documents() {
    for text in [SERVER_CONFIG, MULTI_SERVER] {
        let config = rails("production", text).ok().config;
        assert_eq!(config.server.bind_address, "0.0.0.0:443".parse().unwrap());
        assert_eq!(config.transport.mode, TransportMode::Tls);
        assert_eq!(config.transport.http.versions, [HttpVersion::Http1, HttpVersion::Http2]);
        assert_eq!(config.transport.tls.alpn_protocols, ["http/1.1", "h2"]);
        assert_eq!(config.transport.tls.cert_path, Some("/etc/caddy/certs/cert.pem".into()));
        assert_eq!(config.transport.tls.key_path, Some("/etc/caddy/certs/key.pem".into()));
        assert_eq!(config.transport.acme.domain, None);
        assert_eq!(config.storage.mode, StorageMode::Acid);
        assert_eq!(config.limits.max_stream_bytes, 0);
        assert_eq!(config.http.stream_base_path, "/v1/streams");
    }
    let internal = rails("production", MULTI_SERVER).ok().config.internal.unwrap();
    assert_eq!(internal.address(), "10.0.0.5:4437".parse().unwrap());
    assert_eq!(internal.allowed_ips, ["10.0.0.4/32".parse().unwrap()]);
}

#[test]
fn the_environment_is_chosen_or_reported_as_missing() {
    let mut place = rails("production", SERVER_CONFIG).var("RAILS_ENV", "development");
    assert_eq!(place.ok().config.server.bind_address.port(), 443);
    place.options.env = None;
    assert_eq!(place.ok().config.server.bind_address.port(), 4437);
    let place = place.var("RAILS_ENV", "prodution");
    assert_eq!(
        place.error(),
        "[load_config] config/durable_streams.yml: no section \"prodution\" (--env, RAILS_ENV); \
         there are: default, development, production (did you mean \"production\"?)"
    );
    let place = place.profile("prod");
    assert!(
        place.error().contains("the profile \"prod\" belongs to TOML files"),
        "{}",
        place.error()
    );
}

#[test]
fn a_rails_file_without_auth_is_refused() {
    assert_eq!(
        rails("test", "test:\n  port: 1\n").error(),
        "[validate_config] config/durable_streams.yml: auth: is missing: \
         write auth.verify_key, or auth.mode = \"none\" for an open server"
    );
    assert_eq!(
        rails("test", "test:\n  auth:\n    issuer: a\n").error(),
        "[validate_config] config/durable_streams.yml:3: auth.issuer: auth.verify_key is missing: \
         write auth.verify_key, or auth.mode = \"none\" for an open server"
    );
    open("").ok();
    rails("test", "test:\n").var("DS_AUTH__VERIFY_KEY", "/k").ok();
}

#[test]
fn domains() {
    const DATA: &str = "  storage: {data_dir: /d}\n";
    let config = open(&format!("{DATA}  domain: streams.example.com:8443")).ok().config;
    assert_eq!(config.server.bind_address, "0.0.0.0:8443".parse().unwrap());
    assert_eq!(config.transport.mode, TransportMode::Tls);
    assert_eq!(config.transport.acme.domain.as_deref(), Some("streams.example.com"));
    // Certificate files from variables count as files.
    let place = open("  domain: streams.example.com")
        .var("DS_TRANSPORT__TLS__CERT_PATH", "/c")
        .var("DS_TRANSPORT__TLS__KEY_PATH", "/k");
    assert_eq!(place.ok().config.transport.acme.domain, None);
    for bad in [
        "https://streams.example.com",
        "streams.example.com/v1",
        "a_b.example.com",
        "a.b:99999",
        "-a.b",
    ] {
        let error = open(&format!("  domain: {bad}\n{DATA}")).error();
        assert!(
            error.starts_with("[validate_config] config/durable_streams.yml:2: domain: "),
            "{error}"
        );
    }
    let error = open("  domain: localhost").error();
    assert!(
        error.contains("yml:2: domain: \"localhost\" is not a public host name"),
        "{error}"
    );
}

#[test]
fn a_port_beside_a_domain_is_warned_of() {
    let place = open("  port: 4437\n  domain: streams.example.com\n  storage: {data_dir: /d}");
    assert_eq!(place.ok().config.server.bind_address.port(), 443);
    assert_eq!(
        place.warnings(),
        [
            "config/durable_streams.yml:2: port: 4437 is not used: with a domain, the public listener is on 443; \
          another port is written as part of the domain"
        ]
    );
}

#[test]
fn tls_without_a_domain_is_on_the_port() {
    let config = open("  bind: \"::1\"\n  tls:\n    cert: /c\n    key: /k").ok().config;
    assert_eq!(config.server.bind_address, "[::1]:4437".parse().unwrap());
    assert_eq!(config.transport.mode, TransportMode::Tls);
}

#[test]
fn routes() {
    for route in ["/v1/streams/*", "/v1/streams/", "/v1/streams"] {
        assert_eq!(
            open(&format!("  route: {route}")).ok().config.http.stream_base_path,
            "/v1/streams"
        );
    }
    let error = open("  route: /*").error();
    assert!(error.contains("yml:2: route: \"/\" leaves no room"), "{error}");
}

#[test]
fn durations_storage_and_log() {
    let place = open(
        "  storage:\n    long_poll_timeout: 500ms\n    sse_reconnect_interval: 5m\n    max_file_handles: 100\n    \
         lock_wait: 1.5s\n    data_dir: /d\n    mode: file-fast\n  log:\n    format: json\n    level: WARN",
    );
    let config = place.ok().config;
    assert_eq!(config.transport.connection.long_poll_timeout_secs, 1);
    assert_eq!(config.transport.connection.sse_reconnect_interval_secs, 300);
    assert_eq!(config.storage.max_open_files, 100);
    assert_eq!(config.storage.lock_wait_secs, 2);
    assert_eq!(config.storage.mode, StorageMode::FileFast);
    assert_eq!(config.observability.format, LogFormat::Json);
    assert_eq!(config.observability.rust_log, "warn");
    for (text, seconds) in [("30", 30), ("30s", 30), ("1h", 3600), ("1001ms", 2), ("90 s", 90)] {
        let config = open(&format!("  storage:\n    lock_wait: {text}")).ok().config;
        assert_eq!(config.storage.lock_wait_secs, seconds, "{text}");
    }
    for text in ["soon", "-1s", "1 fortnight", "[1]", "1e300s"] {
        let error = open(&format!("  storage:\n    lock_wait: {text}")).error();
        assert!(
            error.contains("yml:3: storage.lock_wait: expected a time such as 30s"),
            "{error}"
        );
    }
}

#[test]
fn limits_that_are_given_hold() {
    let config = open("  storage:\n    data_dir: /d\n  limits:\n    max_stream_bytes: 1_000")
        .ok()
        .config;
    assert_eq!(config.limits.max_stream_bytes, 1000);
    let config = open("").var("DS_STORAGE__DATA_DIR", "/d").ok().config;
    assert_eq!(
        (config.storage.mode, config.limits.max_stream_bytes),
        (StorageMode::Acid, 0)
    );
}

#[test]
fn a_database_is_enough_to_use_it() {
    let url = "postgres://streams@db.example/streams";
    let given = open(&format!("  storage:\n    url: {url}"));
    for place in [given, open("").var("DS_STORAGE__URL", url)] {
        let config = place.ok().config;
        assert_eq!(
            (config.storage.mode, config.limits.max_stream_bytes),
            (StorageMode::Postgres, 0)
        );
    }
    let both = open(&format!("  storage:\n    data_dir: /d\n    url: {url}"));
    assert_eq!(both.ok().config.storage.mode, StorageMode::Postgres);
}

#[test]
fn sections_of_the_schema_and_variables() {
    let place = open("  transport:\n    connection:\n      body_timeout_secs: 7\n  proxy:\n    enabled: no\n  http:\n    cors_origins: https://a.example")
        .var("DS_TRANSPORT__CONNECTION__HEADER_TIMEOUT_SECS", "8")
        .file("config/default.toml", "[nonsense]\n");
    let config = place.ok().config;
    assert_eq!(config.transport.connection.body_timeout_secs, 7);
    assert_eq!(config.transport.connection.header_timeout_secs, 8);
    assert_eq!(config.http.cors_origins, "https://a.example");
}

#[test]
fn issuers_and_audiences_may_be_lists() {
    let place = rails(
        "test",
        "test:\n  auth:\n    verify_key: k\n    issuer: [a, b]\n    audience:\n      - c\n",
    );
    let auth = place.ok().config.auth.unwrap();
    assert_eq!(
        (auth.issuer, auth.audience),
        (vec!["a".into(), "b".into()], vec!["c".into()])
    );
}

#[test]
fn merge_keys() {
    let text = "\
a: &a
  port: 1
  storage: {data_dir: /a, mode: acid}
  http:
    cors_origins: https://a.example
b: &b
  port: 2
  bind: 127.0.0.1
auth: &open {mode: none}
one:
  <<: *a
  storage:
    data_dir: /own
  auth: *open
two:
  port: 3
  <<: [*a, *b]
  auth: {<<: *open}
";
    let one = rails("one", text).ok().config;
    assert_eq!(one.storage.data_dir, PathBuf::from("/own"));
    assert_eq!(one.http.cors_origins, "https://a.example");
    assert_eq!(one.server.bind_address.port(), 1);
    let two = rails("two", text).ok().config;
    assert_eq!(two.server.bind_address, "127.0.0.1:3".parse().unwrap());
    assert_eq!(two.storage.data_dir, PathBuf::from("/a"));
    // A section of the environment's own takes the place of the merged one.
    let replaced = rails(
        "x",
        "b: &b\n  storage: {data_dir: /a}\nx:\n  <<: *b\n  storage: {lock_wait: 3s}\n  auth: {mode: none}\n",
    );
    assert_eq!(replaced.ok().config.storage.mode, StorageMode::Memory);
    let error = rails("x", "x:\n  <<: 5\n").error();
    assert!(error.contains("yml:2: \"<<\" takes a mapping"), "{error}");
}

#[test]
fn unknown_keys_of_the_form() {
    let error = open("  domian: a.example.com\n  tls:\n    crt: /c\n  storage:\n    data_dri: /d\n    long_poll_timout: 5\n  log: loud\n  internal:\n    alowed_ips: [10.0.0.4]").error();
    for line in [
        "yml:2: domian: unknown key (did you mean \"domain\"?)",
        "yml:4: tls.crt: unknown key (did you mean \"tls.cert\"?)",
        "yml:6: storage.data_dri: unknown key (did you mean \"storage.data_dir\"?)",
        "yml:7: storage.long_poll_timout: unknown key (did you mean \"storage.long_poll_timeout\"?)",
        "yml:8: log: expected a section with keys of its own, found \"loud\"",
        "yml:10: internal.alowed_ips: unknown key (did you mean \"internal.allowed_ips\"?)",
    ] {
        assert!(error.contains(line), "{line} in {error}");
    }
}

#[test]
fn a_setting_given_twice_is_refused() {
    let error = open("  port: 1\n  server:\n    bind_address: 0.0.0.0:2").error();
    assert!(
        error.contains("yml:2: port: says the same as \"server.bind_address\""),
        "{error}"
    );
    let error = rails("test", "test:\n  port: 1\n  port: 2\n").error();
    assert!(error.contains("yml:3: \"port\" is given twice, here and at"), "{error}");
}

#[test]
fn unusable_yaml_is_refused_with_its_line() {
    for (text, expected) in [
        ("", "expected a section for each environment, found nothing"),
        ("- a\n", "yml:1: expected a section for each environment, found a list"),
        (
            "test: 5\n",
            "yml:1: test: expected a section with keys of its own, found \"5\"",
        ),
        ("test:\n\tport: 1\n", "yml:2: YAML syntax: "),
        ("test:\n  port: [1\n", "YAML syntax: "),
        ("test:\n  <<: *nowhere\n", "yml:2: YAML syntax: "),
        ("test: {}\n---\ntest: {}\n", "yml:2: a second document"),
        ("test:\n  port: !ruby/object:Kernel {}\n", "yml:2: the tag "),
        ("test: &a\n  x: *a\n", "yml:2: an alias inside of its own anchor"),
        ("test:\n  [1, 2]: 3\n", "yml:2: a key must be text"),
    ] {
        let error = rails("test", text).error();
        assert!(error.contains(expected), "{expected:?} in {error}");
    }
}

#[test]
fn bombs_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", ")));
    }
    assert!(rails("test", &bomb).error().contains("more than 10000 values"));
    let deep = format!("test: {}{}\n", "[".repeat(50_000), "]".repeat(50_000));
    assert!(rails("test", &deep).error().contains("yml:1: "));
    // Few values, many bytes: by aliases, by anchors in anchors, by merge keys.
    let large = "x".repeat(100_000);
    let aliases = format!("a: &a {large}\ntest: [{}]\n", vec!["*a"; 200].join(", "));
    let anchors = format!(
        "test: {} {large}{}\n",
        (0..25).map(|n| format!("&a{n} [")).collect::<String>(),
        "]".repeat(25)
    );
    let anchors = format!("{anchors}again: [{}]\n", vec!["*a0"; 60].join(", "));
    let fields: String = (0..16).map(|n| format!("{}{n}: 1, ", "x".repeat(1000))).collect();
    let merges: String = (0..250).map(|n| format!("t{n}: {{<<: [*a]}}\n")).collect();
    let keys = format!("a: &a {{{fields}}}\n{merges}");
    for bomb in [aliases, anchors, keys] {
        let error = rails("test", &bomb).error();
        assert!(error.contains("more than 4 MiB, aliases included"), "{error}");
    }
    let many = format!("a: &a 1\ntest: [{}]\n", vec!["*a"; 1000].join(", "));
    assert!(rails("test", &many).error().contains("more than 256 aliases"));
    let escaped = format!("a: &a \"\\t{large}\"\ntest: [*a]\n");
    assert!(rails("test", &escaped).error().contains("more than 64 KiB in anchors"));
    let chain: String = (1..60).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect();
    assert!(
        rails("test", &format!("a0: &a0 [1]\n{chain}"))
            .error()
            .contains("nested deeper")
    );
    assert!(
        rails("test", &format!("test: \"{}\"\n", "x".repeat(10 << 20)))
            .error()
            .contains("larger than")
    );
}

#[test]
fn problems_name_keys_as_the_form_does() {
    let error = open("  tls:\n    cert: /c").error();
    assert_eq!(
        error,
        "[validate_config] config/durable_streams.yml:3: tls.cert: transport.mode = \"tls\" needs tls.key, which is not set"
    );
}

#[test]
fn an_unreachable_internal_listener_is_warned_of() {
    let warnings = open("  internal:\n    port: 4438\n    allowed_ips: [10.0.0.4]").warnings();
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].contains("is on 127.0.0.1, which 10.0.0.4/32 cannot reach"),
        "{warnings:?}"
    );
    assert!(
        open("  internal:\n    allowed_ips: [127.0.0.0/8]")
            .warnings()
            .is_empty()
    );
}

#[test]
fn the_shared_section_holds_for_every_environment() {
    let text = "\
shared:
  port: 4000
  auth: {verify_key: /shared.pem, issuer: https://a.test}
  limits: {max_streams: 7}
production:
  port: 5000
  auth: {verify_key: /production.pem}
staging:
";
    let config = |env: &str| rails(env, text).ok().config;
    let production = config("production");
    assert_eq!(production.server.bind_address.port(), 5000);
    assert_eq!(production.limits.max_streams, 7);
    let auth = production.auth.unwrap();
    assert_eq!(auth.verify_key, PathBuf::from("/production.pem"));
    assert_eq!(auth.issuer, ["https://a.test"]);
    // An environment without a section of its own has the shared one, as in Rails.
    for env in ["staging", "test"] {
        assert_eq!(config(env).server.bind_address.port(), 4000, "{env}");
    }
    let error = rails("test", "shared: 5\ntest: {port: 1, auth: {mode: none}}\n").error();
    assert!(error.contains("yml:1: shared: expected a section"), "{error}");
    let error = rails("prod", "production: {port: 1}\n").error();
    assert!(error.contains("there are: production"), "{error}");
}

#[test]
fn empty_values_of_guarded_keys_are_errors() {
    let auth = |lines: &str| format!("test:\n  auth:\n    verify_key: /k\n{lines}");
    for lines in [
        "    issuer:\n",
        "    issuer: ''\n",
        "    issuer: '  '\n",
        "    issuer: []\n",
        "    issuer: <%= ENV['X'] %>\n",
        "    issuer: <%= ENV.fetch('X', '') %>\n",
    ] {
        for key in ["issuer", "audience"] {
            let error = rails("test", &auth(&lines.replace("issuer", key))).error();
            assert!(
                error.contains(&format!("yml:4: auth.{key}: is given but empty")),
                "{lines} {error}"
            );
        }
    }
    for lines in [
        "    issuer: ['']\n",
        "    issuer: [a, '']\n",
        "    issuer: [a, ' ']\n",
        "    issuer: [a, \"\\u00a0\"]\n",
        "    issuer: [<%= ENV['X'] %>]\n",
    ] {
        let error = rails("test", &auth(lines)).error();
        assert!(error.contains("yml:4: auth.issuer: "), "{lines} {error}");
    }
    for (lines, key) in [
        (
            "  tls:\n    cert: <%= ENV['X'] %>\n    key: <%= ENV['Y'] %>",
            "tls.cert",
        ),
        ("  tls:\n    cert:\n", "tls.cert"),
        ("  tls:\n    cert: /c\n    key:\n", "tls.key"),
        (
            "  transport:\n    tls: {cert_path: '', key_path: ''}\n",
            "transport.tls.cert_path",
        ),
        ("  transport:\n    mode:\n", "transport.mode"),
        ("  http:\n    cors_origins: <%= ENV['X'] %>\n", "http.cors_origins"),
    ] {
        let error = open(lines).error();
        assert!(error.contains(&format!("{key}: is given but empty")), "{lines} {error}");
    }
    for (lines, words) in [
        ("  internal:\n    allowed_ips: []\n", "needs internal.allowed_ips"),
        (
            "  internal:\n    allowed_ips: <%= ENV['X'] %>\n",
            "needs internal.allowed_ips",
        ),
        (
            "  proxy: {enabled: true, forwarded_headers: forwarded, trusted_proxies: []}\n",
            "needs proxy.trusted_proxies",
        ),
        (
            "  transport: {mode: mtls, tls: {cert_path: /c, key_path: /k, client_ca_path: }}\n",
            "needs transport.tls.client_ca_path",
        ),
    ] {
        let error = open(lines).error();
        assert!(error.contains(words), "{lines} {error}");
    }
}
