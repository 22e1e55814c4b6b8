use super::{rails::open, *};

#[test]
fn erb_forms() {
    let text = "  port: <%= ENV.fetch(\"PORT\", 5000) %>\n  <%# a note %>\n  # <%= Rails.root %>\n  storage:\n    data_dir: <%= ENV['DATA'] -%>\n  internal:\n    port: \"<%= ENV.fetch('IP', '6000') %>\"\n    allowed_ips: <%= ENV.fetch(\"IPS\") %>\n  http:\n    cors_origins: https://<%= ENV[\"HOST\"] %>.example";
    let place = open(text).var("IPS", "10.0.0.4,10.0.0.5").var("HOST", "app");
    let config = place.ok().config;
    assert_eq!(config.server.bind_address.port(), 5000);
    assert_eq!(
        config.storage.mode,
        StorageMode::Memory,
        "an unset variable is no directory"
    );
    let internal = config.internal.unwrap();
    assert_eq!((internal.port, internal.allowed_ips.len()), (6000, 2));
    assert_eq!(config.http.cors_origins, "https://app.example");
    assert!(
        place.warnings()[0].contains("yml:6: storage.data_dir: the variable DATA is not set"),
        "{:?}",
        place.warnings()
    );
    let config = place.var("DATA", "/d").var("PORT", "5001").ok().config;
    assert_eq!(
        (config.server.bind_address.port(), config.storage.mode),
        (5001, StorageMode::Acid)
    );
}

#[test]
fn defaults_may_be_written_in_any_of_rubys_ways() {
    for form in [
        "ENV.fetch(\"P\", 5000)",
        "ENV.fetch(\"P\") { 5000 }",
        "ENV.fetch('P') { \"5000\" }",
        "ENV.fetch('P'){5_000}",
        "ENV[\"P\"] || 5000",
        "ENV['P']||'5000'",
        "ENV[ 'P' ] || 5000",
    ] {
        let place = open(&format!("  port: <%= {form} %>"));
        assert_eq!(place.ok().config.server.bind_address.port(), 5000, "{form}");
        let place = place.var("P", "6000");
        assert_eq!(place.ok().config.server.bind_address.port(), 6000, "{form}");
    }
}

#[test]
fn the_value_of_a_variable_is_never_structure() {
    for value in [
        "/d\n  limits:\n    max_streams: 5",
        "{a: 1}",
        "*x",
        "&x y",
        "x # y",
        "!!int 5",
        "<%= ENV['Y'] %>",
        "'",
    ] {
        let place = open("  storage:\n    data_dir: <%= ENV['X'] %>").var("X", value);
        let config = place.ok().config;
        assert_eq!(config.storage.data_dir, PathBuf::from(value));
        assert_eq!(config.limits.max_streams, 0);
    }
}

#[test]
fn other_erb_is_refused_with_its_line() {
    let place = open(
        "  port: <%= Rails.application.credentials.port %>\n<% if true %>\n  bind: <%= ENV.fetch(\"X\") { id } %>\n  route: <%= `id` %>\n  domain: <%= ENV[\"X\n",
    );
    let error = place.error();
    for line in [
        "yml:2: the ERB \"<%= Rails.application.credentials.port %>\" is not understood; only <%= ENV[\"X\"] %>, ",
        "yml:3: the ERB \"<% if true %>\" is not understood",
        "yml:4: the ERB",
        "yml:5: the ERB",
        "yml:6: an ERB tag that does not end on its line",
    ] {
        assert!(error.contains(line), "{line} in {error}");
    }
    for tag in [
        "ENV[\"X\"] || x",
        "ENV[\"X\"] or 5",
        "ENV[\"X\"] || 5 || 6",
        "ENV.fetch(\"X\") { |x| 5 }",
        "ENV.fetch(\"X\") { 5",
        "ENV.fetch(\"X\", 1) { 5 }",
        "ENV[X]",
        "ENV.fetch(\"#{1}\")",
        "ENV.fetch(\"X\", [1])",
        "\"a\"",
        "",
        "ENV['a'] + ENV['b']",
    ] {
        let error = open(&format!("  port: <%= {tag} %>")).error();
        assert!(error.contains("yml:2: the ERB"), "{error}");
    }
}

#[test]
fn a_missing_variable_is_reported_where_it_is_used() {
    let text = "development:\n  port: 1\n  auth: {mode: none}\nproduction:\n  port: <%= ENV.fetch(\"PORT\") %>\n";
    rails("development", text).ok();
    let error = rails("production", text).error();
    assert!(
        error.contains("yml:5: port: the variable PORT is not set and has no default"),
        "{error}"
    );
    let error = rails("test", "test:\n  <%= ENV['K'] %>: 1\n  auth: {mode: none}\n")
        .var("K", "port")
        .error();
    assert!(error.contains("ERB cannot stand in a key"), "{error}");
}

#[test]
fn an_unset_variable_is_reported_with_the_key_it_left_empty() {
    let error = rails("test", "test:\n  auth:\n    verify_key: <%= ENV['KEY'] %>\n").error();
    assert!(error.contains("auth.verify_key is missing"), "{error}");
    assert!(
        error.ends_with(
            "\n  warning: config/durable_streams.yml:3: auth.verify_key: the variable KEY is not set; taken as empty"
        ),
        "{error}"
    );
}
