//! Configuration sources, end to end.

use std::fs;

use super::support::{certs::Certs, peers::free_address, server::Setup};

/// Each of the seven sources overrides the previous one.
#[test]
fn seven_sources_override_each_other_in_order() {
    let setup = Setup::new();
    let directory = setup.dir.path().join("config");
    fs::create_dir(&directory).unwrap();
    let write = |path: &str, base: &str| {
        fs::write(
            setup.dir.path().join(path),
            format!("[http]\nstream_base_path = \"{base}\"\n"),
        )
        .unwrap();
    };
    let mut setup = setup.clone();
    let serves = |setup: &Setup, base: &str| {
        let server = setup.start();
        let put = |base: &str| server.raw("PUT", &format!("{base}/a")).text("x").send().status;
        assert_eq!(put(base), 201, "{base}");
        for other in ["/v1/stream", "/three", "/four", "/five", "/six", "/seven"] {
            assert!(
                other == base || put(other) == 404,
                "{other} is served as well as {base}"
            );
        }
        server.stop();
    };
    serves(&setup, "/v1/stream");
    // Second source: the profile's defaults, which require a data directory and a key.
    setup.arguments = ["--profile", "prod"].map(str::to_owned).into();
    let (code, _, error) = setup.run(&["check"]);
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("auth"), "{error}");
    setup.variable("DS_AUTH__MODE", "none");
    setup.variable("DS_STORAGE__MODE", "memory");
    serves(&setup, "/v1/stream");
    write("config/default.toml", "/three");
    serves(&setup, "/three");
    write("config/prod.toml", "/four");
    serves(&setup, "/four");
    write("config/local.toml", "/five");
    serves(&setup, "/five");
    write("mine.toml", "/six");
    setup.arguments.extend(["--config", "mine.toml"].map(str::to_owned));
    serves(&setup, "/six");
    setup.variable("DS_HTTP__STREAM_BASE_PATH", "/seven");
    serves(&setup, "/seven");
}

/// Removed fields still work and name their replacements.
#[test]
fn legacy_fields_serve_and_warn() {
    let mut setup = Setup::new();
    let certs = Certs::new(setup.dir.path());
    let port = free_address().port();
    let text = format!(
        "[server]\nport = {port}\n[tls]\ncert_path = \"{}\"\nkey_path = \"{}\"\n[log]\nrust_log = \"info\"\n",
        certs.text("server.pem"),
        certs.text("server.key")
    );
    fs::write(setup.dir.path().join("old.toml"), text).unwrap();
    setup.variables.clear();
    setup.arguments = ["--config", "old.toml"].map(str::to_owned).into();
    let server = setup.start();
    assert_eq!(server.public.port(), port);
    for successor in [
        "server.bind_address",
        "transport.tls.cert_path",
        "transport.tls.key_path",
        "observability.rust_log",
    ] {
        let said = server.log.find(successor);
        assert!(
            said.is_some_and(|line| line.contains("WARN")),
            "{successor}:\n{}",
            server.log.text()
        );
    }
    assert!(server.log.wait_for("listening").contains("tls=true"));
    server.stop();
}
