use super::*;

#[test]
fn the_merged_result_names_the_origin_of_each_value() {
    let place = toml("[storage]\nmode = \"acid\"\n")
        .profile("prod")
        .var("DS_AUTH__VERIFY_KEY", "/k.pem");
    let text = place.cut(&place.ok().to_toml());
    let has = |start: &str, origin: &str| {
        let line = text.lines().find(|line| line.starts_with(start));
        assert!(
            line.is_some_and(|line| line.ends_with(&format!("  # {origin}"))),
            "{start}: {line:?}"
        );
    };
    has("mode = \"acid\"", "server.toml:2");
    has("data_dir = \"/var/lib/durable-streams\"", "profile prod");
    has("verify_key = \"/k.pem\"", "DS_AUTH__VERIFY_KEY");
    has("bind_address = \"0.0.0.0:4437\"", "default");
    has("# cert_path", "not set");
    assert!(!text.contains("[internal]"), "{text}");
}

#[test]
fn the_origin_of_a_list_is_the_layer_that_replaced_it() {
    let place = toml("[auth]\nverify_key = \"/k.pem\"\nissuer = [\"a\"]\n[proxy]\ntrusted_proxies = [\"10.0.0.1\"]\n")
        .var("DS_AUTH__ISSUER", "b")
        .var("DS_PROXY__TRUSTED_PROXIES", "[]");
    let layers = place.ok().layers;
    assert_eq!(layers.origin("auth.issuer").to_string(), "DS_AUTH__ISSUER");
    assert_eq!(
        layers.origin("proxy.trusted_proxies").to_string(),
        "DS_PROXY__TRUSTED_PROXIES"
    );
}

#[test]
fn the_merged_result_loads_again_as_the_same() {
    let place = rails(
        "production",
        "production:\n  domain: streams.example.com\n  internal: {port: 4437, bind: 10.0.0.5, allowed_ips: [10.0.0.4]}\n  auth: {verify_key: /k, issuer: [a, \"b\\\"c\"]}\n  storage: {data_dir: /d}\n",
    );
    let loaded = place.ok();
    let again = toml(&loaded.to_toml()).ok();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn secrets_are_masked() {
    let place = toml(
        "[transport.acme]\ndirectory_url = \"https://ops:hunter2@acme.example/dir?x=y@z\"\n[auth]\nverify_key = \"-----BEGIN PRIVATE KEY-----\\nMIG\"\nissuer = \"https://a.example/b@c\"\n",
    );
    let text = place.ok().to_toml();
    assert!(text.contains("\"https://ops:***@acme.example/dir?x=y@z\""), "{text}");
    assert!(text.contains("\"https://a.example/b@c\""), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("MIG"), "{text}");
}

#[test]
fn passwords_in_parameters_of_a_url_are_masked() {
    for (key, kept) in [("password", "password=***"), ("pass%77ord", "pass%77ord=***")] {
        let url = format!("postgres://ops@db.example/streams?sslmode=disable&{key}=hunter2&connect_timeout=3");
        let text = toml(&format!("[storage]\nmode = \"postgres\"\nurl = \"{url}\"\n"))
            .ok()
            .to_toml();
        assert!(text.contains(kept) && text.contains("connect_timeout=3"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
