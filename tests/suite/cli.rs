//! The command line.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::support::{
    server::{BASE, Server, Setup},
    tokens::{AUDIENCE, ISSUER},
};

const STREAM: &str = "gid://app/Room/1";

#[test]
fn every_command_has_help_that_names_its_options() {
    let setup = Setup::new();
    let commands: [(&[&str], &[&str]); 15] = [
        (
            &[],
            &[
                "serve",
                "check",
                "config",
                "keys",
                "token",
                "explain",
                "healthcheck",
                "streams",
                "export",
                "import",
                "--config",
                "--env",
                "--profile",
            ],
        ),
        (&["serve"], &["--config"]),
        (&["check"], &["--config"]),
        (&["config"], &["--config"]),
        (&["keys"], &["generate"]),
        (&["keys", "generate"], &["--out", "--kid"]),
        (
            &["token"],
            &["--key", "--stream", "--server", "--permissions", "--expires-in"],
        ),
        (&["explain"], &["TOKEN", "METHOD", "URL", "--header"]),
        (&["healthcheck"], &["--address", "--timeout"]),
        (&["streams"], &["list", "show", "delete"]),
        (
            &["streams", "list"],
            &["--json", "--limit", "--url", "--token", "DS_TOKEN", "--key", "--ca"],
        ),
        (&["streams", "show"], &["NAME", "--json"]),
        (&["streams", "delete"], &["NAME", "--prefix", "--yes"]),
        (&["export"], &["NAME", "--prefix", "--output", "--url", "DS_TOKEN"]),
        (&["import"], &["FILE", "--only", "--replace", "--url", "DS_TOKEN"]),
    ];
    for (command, words) in commands {
        let arguments = [command, &["--help"]].concat();
        let (code, help, error) = setup.run(&arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{arguments:?}");
        assert!(!help.contains('\u{1b}'), "colours in a pipe: {help:?}");
        for word in words {
            assert!(help.contains(word), "{arguments:?} does not name {word}:\n{help}");
        }
    }
}

#[test]
fn the_version_is_the_crates() {
    let (code, out, _) = Setup::new().run(&["--version"]);
    assert_eq!(
        (code, out),
        (0, format!("durable-streams-server {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn options_may_precede_or_follow_the_command() {
    let setup = app();
    for arguments in [
        ["--config", "durable_streams.yml", "--env", "test", "check"],
        ["check", "--config", "durable_streams.yml", "--env", "test"],
    ] {
        let mut setup = setup.clone();
        setup
            .variables
            .retain(|name, _| name != "DS_CONFIG" && name != "DS_ENV");
        let (code, out, error) = setup.run(&arguments);
        assert_eq!(code, 0, "{error}");
        assert!(out.contains("durable_streams.yml"), "{out}");
    }
}

#[test]
fn an_unknown_command_is_an_error() {
    for arguments in [
        &["srve"][..],
        &["--prot", "1"],
        &["keys"],
        &["token", "--key", "x"],
        &["explain", "x"],
    ] {
        let (code, out, error) = Setup::new().run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {error}");
        assert!(!error.is_empty());
    }
}

/// Keys from `keys generate`, and a configuration in the Rails form that uses them.
fn app() -> Setup {
    let setup = Setup::new();
    let (code, out, error) = setup.run(&["keys", "generate", "--out", "keys"]);
    assert_eq!(code, 0, "{error}");
    assert!(
        out.contains("signing_key.pem") && out.contains("verify_key.pem"),
        "{out}"
    );
    let yaml = format!(
        "test:\n  port: 0\n  auth:\n    verify_key: keys/verify_key.pem\n    issuer: {ISSUER}\n    audience: {AUDIENCE}\n"
    );
    fs::write(setup.dir.path().join("durable_streams.yml"), yaml).unwrap();
    let mut setup = setup;
    setup
        .variable("DS_CONFIG", "durable_streams.yml")
        .variable("DS_ENV", "test");
    setup
}

fn token(setup: &Setup, arguments: &[&str]) -> String {
    let (code, out, error) = setup.run(&[&["token", "--key", "keys/signing_key.pem"], arguments].concat());
    assert_eq!(code, 0, "{error}");
    out.trim().to_owned()
}

#[test]
fn generated_keys_are_private_and_never_overwritten() {
    let setup = app();
    let file = |name: &str| setup.dir.path().join("keys").join(name);
    let mode = |name: &str| fs::metadata(file(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("signing_key.pem"), 0o600);
    let before = fs::read(file("signing_key.pem")).unwrap();
    let (code, _, error) = setup.run(&["keys", "generate", "--out", "keys"]);
    assert_eq!(code, 1);
    assert!(error.contains("signing_key.pem"), "{error}");
    assert_eq!(fs::read(file("signing_key.pem")).unwrap(), before);
}

#[test]
fn tokens_from_the_token_command_are_accepted() {
    let setup = app();
    let (reader, server_token) = (
        token(&setup, &["--stream", STREAM]),
        token(&setup, &["--server", "rails"]),
    );
    let server = setup.start();
    let path = format!("/v1/streams/{STREAM}");
    for (given, method, status) in [
        (&reader, "PUT", 403),
        (&server_token, "PUT", 201),
        (&reader, "GET", 200),
        (&reader, "POST", 403),
        (&server_token, "POST", 204),
        (&server_token, "DELETE", 204),
    ] {
        server.raw(method, &path).token(given).text("x").send().expect(status);
        let (code, out, error) = setup.run(&["explain", given, method, &path]);
        assert_eq!(code, i32::from(status == 403), "{method}: {out}{error}");
        let verdict = if status == 403 { "REFUSED with 403" } else { "ALLOWED" };
        assert!(out.contains(verdict), "{out}");
        let signature = given.rsplit('.').next().unwrap();
        assert!(!out.contains(signature), "the token is shown:\n{out}");
    }
}

#[test]
fn explain_names_the_rule_that_refuses() {
    let setup = app();
    let reader = token(
        &setup,
        &["--stream", STREAM, "--permissions", "read", "--identity", "7"],
    );
    let other = token(&setup, &["--stream", "gid://app/Room/2"]);
    let wrong_issuer = token(&setup, &["--stream", STREAM, "--issuer", "https://other.test"]);
    for (given, method, word) in [
        (&reader, "DELETE", "REFUSED with 403"),
        (&other, "GET", "gid://app/Room/2"),
        (&wrong_issuer, "GET", "https://other.test"),
        (&"nonsense".to_owned(), "GET", "REFUSED with 401"),
    ] {
        let (code, out, _) = setup.run(&["explain", given, method, STREAM]);
        assert_eq!(code, 1, "{out}");
        assert!(out.contains(word), "{word} is missing:\n{out}");
    }
    let url = format!("https://streams.test/v1/streams/{STREAM}?token={reader}&offset=-1");
    let (code, out, _) = setup.run(&["explain", "-", "GET", &url]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn check_describes_the_store_or_reports_every_problem() {
    let setup = app();
    let (code, out, error) = setup.run(&["check"]);
    assert_eq!(code, 0, "{error}");
    for part in ["durable_streams.yml", "verify_key.pem", "/v1/streams", "ok"] {
        assert!(out.contains(part), "{out}");
    }
    let yaml = "test:\n  prot: 1\n  auth:\n    verify_key: nowhere.pem\n    isuer: x\n  storage:\n    mode: tape\n";
    fs::write(setup.dir.path().join("durable_streams.yml"), yaml).unwrap();
    let (code, out, error) = setup.run(&["check"]);
    assert_eq!((code, out.as_str()), (78, ""), "{error}");
    for part in [
        "durable_streams.yml:2",
        "port",
        "durable_streams.yml:5",
        "issuer",
        "durable_streams.yml:7",
    ] {
        assert!(error.contains(part), "{part} is missing:\n{error}");
    }
    let yaml = "test:\n  auth:\n    verify_key: nowhere.pem\n";
    fs::write(setup.dir.path().join("durable_streams.yml"), yaml).unwrap();
    let (code, _, error) = setup.run(&["check"]);
    assert_eq!(code, 78, "{error}");
    assert!(
        error.contains("[load_keys]") && error.contains("nowhere.pem"),
        "{error}"
    );
}

#[test]
fn config_shows_where_each_value_comes_from_and_no_secrets() {
    let mut setup = app();
    setup.variable("DS_LIMITS__MAX_STREAMS", "7");
    let (code, out, error) = setup.run(&["config"]);
    assert_eq!(code, 0, "{error}");
    let line = |start: &str| {
        out.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start}:\n{out}"))
    };
    assert!(line("max_streams = 7").contains("DS_LIMITS__MAX_STREAMS"), "{out}");
    assert!(line("issuer").contains("durable_streams.yml"), "{out}");
    assert!(line("max_body_bytes").contains("default"), "{out}");
    let private = fs::read_to_string(setup.dir.path().join("keys/signing_key.pem")).unwrap();
    setup.variable("DS_AUTH__VERIFY_KEY", &private);
    setup.variable(
        "DS_TRANSPORT__ACME__DIRECTORY_URL",
        "https://user:hunter2@acme.test/directory",
    );
    let (_, out, error) = setup.run(&["config"]);
    for secret in [private.lines().nth(1).unwrap(), "hunter2"] {
        assert!(
            !out.contains(secret) && !error.contains(secret),
            "{secret} is shown:\n{out}{error}"
        );
    }
}

#[test]
fn a_healthcheck_asks_the_running_server() {
    let server = Setup::new().start();
    let address = server.public.to_string();
    let setup = Setup::new();
    assert_eq!(setup.run(&["healthcheck", "--address", &address]).0, 0);
    server.stop();
    let (code, _, error) = setup.run(&["healthcheck", "--address", &address]);
    assert_eq!(code, 1);
    assert!(error.contains(&address), "{error}");
}

#[test]
fn an_open_server_logs_one_warning() {
    let server = Setup::new().start();
    let warnings = server.log.text().matches("WARN").count();
    assert_eq!(warnings, 1, "{}", server.log.text());
    server.log.wait_for("may read, write and delete every stream");
    server.raw("PUT", &format!("{BASE}/s")).text("x").send().expect(201);
}

#[test]
fn an_open_server_is_reported_by_every_command() {
    let setup = Setup::new();
    for command in ["check", "config"] {
        let (code, out, _) = setup.run(&[command]);
        assert_eq!(code, 0);
        for words in [
            "may read, write and delete every stream",
            "any web page",
            "Set auth.verify_key",
        ] {
            assert!(out.contains(words), "{command}: {out}");
        }
    }
    let ready = |server: &Server| server.raw("GET", "/readyz").send().expect(200).text();
    let text = ready(&setup.start());
    assert!(
        text.starts_with("ready\n") && text.contains("may read, write and delete"),
        "{text}"
    );
    let declared = Setup::new().with("auth.mode", "none").start();
    assert!(ready(&declared).contains("open: "));
    assert!(!declared.log.text().contains("WARN"));
    assert_eq!(ready(&Setup::new().gated().start()), "ready\n");
}

#[test]
fn production_profiles_require_auth() {
    let (code, _, error) = Setup::new().run(&["--profile", "prod"]);
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("auth.verify_key"), "{error}");
}
