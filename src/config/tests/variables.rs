use super::*;

/// A value that is not the default, in the form of a variable.
fn another(key: &str) -> &'static str {
    match key {
        "server.bind_address" => "127.0.0.1:9999",
        "transport.mode" => "mtls",
        "transport.http.versions" => "http1,http2",
        "transport.tls.min_version" => "1.3",
        "transport.tls.max_version" => "1.2",
        "internal.bind" => "10.0.0.5",
        "internal.allowed_ips" | "proxy.trusted_proxies" => "10.0.0.4, 10.1.0.0/16",
        "auth.mode" => "none",
        "http.cache" => "private",
        "storage.mode" => "file-fast",
        "proxy.enabled" => "true",
        "proxy.forwarded_headers" => "x-forwarded",
        "proxy.identity.mode" => "header",
        "proxy.identity.require_tls" => "false",
        "observability.format" => "json",
        "subscriptions.enabled" => "false",
        "webhooks.allow_local_http" => "true",
        "webhooks.allowed_hosts" => "example.com",
        "retention.rules" => "[{ streams = \"a/*\", max_age_secs = 1 }]",
        // Everything else is a number or text, and takes a number as either.
        _ => "4711",
    }
}

/// Every field of the schema has its variable, and takes its value from it: the key is set,
/// nothing is unknown, and no value is refused for what it is.
#[test]
fn every_field_has_a_variable() {
    for key in schema::Schema::get().paths() {
        let name = format!("DS_{}", key.replace('.', "__").to_uppercase());
        let place = Fixture::new().var(&name, another(key));
        let mut report = problem::Report::default();
        let mut layers = crate::config::layers::Layers::default();
        let table = crate::config::variables::parse(place.options.variables.as_ref().unwrap(), &mut report);
        layers.lay(&table, &[], &mut report);
        let config = layers.extract(&mut report);
        assert_eq!(report.problems, [], "{name}");
        assert_eq!(layers.origin(key), Origin::Variable(name.as_str().into()));
        assert_ne!(config, Config::default(), "{name} changes nothing");
        // Whatever the loader says about the value, it says it as a matter of its meaning.
        if let Err(error) = place.load() {
            assert_eq!(error.stage(), Stage::Validate, "{name}: {error}");
        }
    }
}

#[test]
fn lists_are_toml_arrays_or_separated_by_commas() {
    let proxies = |text: &str| {
        let place =
            toml("[proxy]\nenabled = true\nforwarded_headers = \"forwarded\"\n").var("DS_PROXY__TRUSTED_PROXIES", text);
        place.ok().config.proxy.trusted_proxies
    };
    let expected: Vec<ipnet::IpNet> = vec!["10.0.0.0/24".parse().unwrap(), "::1/128".parse().unwrap()];
    assert_eq!(proxies("10.0.0.0/24, ::1"), expected);
    assert_eq!(proxies("[\"10.0.0.0/24\", '::1']"), expected);
    assert_eq!(proxies("10.0.0.0/24,::1,"), expected);
}

#[test]
fn an_empty_variable_takes_an_optional_value_away() {
    let place = toml("[transport.tls]\ncert_path = \"/c\"\n").var("DS_TRANSPORT__TLS__CERT_PATH", "");
    assert_eq!(place.ok().config.transport.tls.cert_path, None);
}

#[test]
fn rust_log_applies_unless_the_servers_own_variable_is_set() {
    let place = toml("[observability]\nrust_log = \"warn\"\n").var("RUST_LOG", "debug,hyper=info");
    let loaded = place.ok();
    assert_eq!(loaded.config.observability.rust_log, "debug,hyper=info");
    assert_eq!(loaded.layers.origin("observability.rust_log").to_string(), "RUST_LOG");
    let place = place.var("DS_OBSERVABILITY__RUST_LOG", "error");
    assert_eq!(place.ok().config.observability.rust_log, "error");
    assert_eq!(toml("").var("RUST_LOG", "").ok().config.observability.rust_log, "info");
}

#[test]
fn invalid_variables_are_reported_together_by_load_config() {
    let place = Fixture::new()
        .var("DS_TRANSPORT__MODE", "tsl")
        .var("DS_TRANSPORT__TLS__MIN_VERSION", "1.1")
        .var("DS_SERVER__BIND_ADDRESS", "localhost")
        .var("DS_TRANSPORT__TLS__CERT_PTH", "/c")
        .var("DS_LIMITS__MAX_STREAMS", "-1")
        .var("DS_STORAGE_MODE", "acid")
        .var("DS_HTTP__CORS_ORIGINS", "a\u{fffd}b");
    assert_eq!(
        place.error(),
        "[load_config] 7 problems\n  \
         DS_HTTP__CORS_ORIGINS: is not UTF-8\n  \
         DS_STORAGE_MODE: unknown variable (did you mean DS_STORAGE__MODE? sections and fields are separated by two underscores)\n  \
         DS_LIMITS__MAX_STREAMS: limits.max_streams: expected a whole number from 0 to 18446744073709551615, found \"-1\"\n  \
         DS_SERVER__BIND_ADDRESS: server.bind_address: \"localhost\" is not an address with a port, such as \"0.0.0.0:4437\" or \"[::]:4437\"\n  \
         DS_TRANSPORT__MODE: transport.mode: \"tsl\" is not one of http, tls, mtls (did you mean \"tls\"?)\n  \
         DS_TRANSPORT__TLS__CERT_PTH: transport.tls.cert_pth: unknown key (did you mean DS_TRANSPORT__TLS__CERT_PATH?)\n  \
         DS_TRANSPORT__TLS__MIN_VERSION: transport.tls.min_version: \"1.1\" is not one of 1.2, 1.3 (did you mean \"1.3\"?)"
    );
}

#[test]
fn other_programs_variables_are_left_alone() {
    let place = toml("[auth]\nmode = \"none\"\n")
        .var("DS_PROFILE", "x")
        .var("DS9_STATION", "x")
        .var("DS_FRIENDS", "x");
    assert_eq!(place.warnings(), ["DS_FRIENDS: not a setting of this server; ignored"]);
}

#[test]
fn an_empty_variable_switches_no_protection_off() {
    for (name, key) in [
        ("DS_AUTH__ISSUER", "auth.issuer"),
        ("DS_AUTH__AUDIENCE", "auth.audience"),
        ("DS_HTTP__CORS_ORIGINS", "http.cors_origins"),
        ("DS_TRANSPORT__MODE", "transport.mode"),
        ("DS_AUTH__VERIFY_KEY", "auth.verify_key"),
        ("DS_AUTH__MODE", "auth.mode"),
    ] {
        for value in ["", "  ", ",", "[]"] {
            let place = toml("[auth]\nverify_key = \"/k\"\nissuer = \"a\"\naudience = \"b\"\n").var(name, value);
            // The other keys take these for values.
            if value.len() == 1 && !key.starts_with("auth.issuer") && !key.starts_with("auth.audience") || value == "[]"
            {
                continue;
            }
            let error = place.error();
            assert!(error.contains(&format!("{name}: {key}: ")), "{name}={value:?} {error}");
        }
    }
    let error = toml("[auth]\nverify_key = \"/k\"\nissuer = []\n").error();
    assert!(
        error.contains("server.toml:3: auth.issuer: is given but empty"),
        "{error}"
    );
}

#[test]
fn long_values_of_many_tags_are_refused() {
    let tags = "<%= ENV['X'] %>".repeat(1000);
    let text = format!("test:\n  domain: {tags}\n  auth: {{mode: none}}\n");
    let error = rails("test", &text).var("X", &"x".repeat(100_000)).error();
    assert!(
        error.contains("longer than 1048576 bytes together") && error.len() < 1000,
        "{error}"
    );
}
