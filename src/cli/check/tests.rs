use std::{collections::BTreeMap, fs, path::Path};

use crate::cli::{config_args::ConfigArgs, error::CliError, *};
use crate::config::*;
use crate::startup::{Phase, StartupError};
use crate::test_support::tokens::Issuer;

fn options(directory: &Path, config: &str) -> ConfigLoadOptions {
    let path = directory.join("server.toml");
    fs::write(&path, config).unwrap();
    ConfigLoadOptions {
        base_dir: directory.into(),
        config_path: Some(path),
        variables: Some(BTreeMap::new()),
        ..ConfigLoadOptions::default()
    }
}

fn check(directory: &Path, config: &str) -> Result<String, StartupError> {
    let mut out = Vec::new();
    match check::run(&options(directory, config), &mut out) {
        Err(CliError::Startup(error)) => return Err(error),
        other => other.unwrap(),
    }
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn check_says_what_it_found() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    fs::write(&key, Issuer::new(1).public_pem()).unwrap();
    let config = format!(
        "[auth]\nverify_key = {key:?}\n[internal]\nport = 1\nbind = \"10.0.0.5\"\nallowed_ips = [\"10.0.0.4\"]\n[storage]\nmode = \"acid\"\n"
    );
    let text = check(directory.path(), &config).unwrap();
    let expected = format!(
        "files      {d}/server.toml\n\
         public     0.0.0.0:4437 plain HTTP, streams at /v1/stream\n\
         internal   10.0.0.5:1 plain HTTP for 10.0.0.4/32\n\
         storage    ./data/streams\n\
         auth       tokens verified by {d}/key.pem\n\
         ok\n",
        d = directory.path().display()
    );
    assert_eq!(text, expected);
}

#[test]
fn check_says_that_a_server_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let text = check(directory.path(), "").unwrap();
    assert!(text.contains("auth       none: an open server\n"), "{text}");
    assert!(text.contains("warning    auth: no authentication configured"), "{text}");
}

#[test]
fn check_misses_files_and_refuses_directories() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path().display().to_string();
    let error = check(directory.path(), &format!("[auth]\nverify_key = \"{d}/none.pem\"\n")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "[load_keys] cannot read {d}/none.pem: No such file or directory (os error 2); \
             auth.verify_key must name a file or directory that this user may read"
        )
    );
    let config = format!("[transport]\nmode = \"tls\"\n[transport.tls]\ncert_path = \"{d}\"\nkey_path = \"{d}/k\"\n");
    let error = check(directory.path(), &config).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "[check_tls_files] 2 problems\n  transport.tls.cert_path: {d} is a directory, not a file\n  \
             transport.tls.key_path: {d}/k does not exist"
        )
    );
    assert_eq!(error.exit_code(), 78);
}

#[test]
fn check_finds_certificates_that_a_start_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::KeyPair::generate().unwrap();
    fs::write(at("cert"), made.cert.pem()).unwrap();
    fs::write(at("other"), other.serialize_pem()).unwrap();
    fs::write(at("key"), made.signing_key.serialize_pem()).unwrap();
    fs::write(at("junk"), "junk").unwrap();
    let config = |cert: &str, key: &str| {
        let (cert, key) = (at(cert), at(key));
        format!("[transport]\nmode = \"tls\"\n[transport.tls]\ncert_path = {cert:?}\nkey_path = {key:?}\n")
    };
    assert!(check(directory.path(), &config("cert", "key")).is_ok());
    for (cert, key, reason) in [
        ("junk", "key", "contains no certificate"),
        ("key", "cert", "contains no certificate"),
        ("cert", "junk", "contains no private key"),
        ("cert", "other", "does not match the certificate"),
    ] {
        let error = check(directory.path(), &config(cert, key)).unwrap_err().to_string();
        assert!(
            error.starts_with("[build_tls_context] ") && error.contains(reason),
            "{error}"
        );
    }
}

#[test]
fn check_does_not_wait_for_pipes() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    for config in [
        format!("[auth]\nverify_key = {pipe:?}\n"),
        format!("[transport]\nmode = \"tls\"\n[transport.tls]\ncert_path = {pipe:?}\nkey_path = {pipe:?}\n"),
    ] {
        let error = check(directory.path(), &config).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}

#[test]
fn check_finds_a_data_directory_that_is_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.toml");
    for path in [file.clone(), file.join("below")] {
        let config = format!("[storage]\nmode = \"acid\"\ndata_dir = {path:?}\n");
        let error = check(directory.path(), &config).unwrap_err().to_string();
        assert!(error.starts_with("[start_server] storage.data_dir: "), "{error}");
    }
}

#[test]
fn check_looks_into_the_keys() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.pem");
    let config = format!("[auth]\nverify_key = {key:?}\n");
    fs::write(&key, "-").unwrap();
    let error = check(directory.path(), &config).unwrap_err();
    assert!(
        error.to_string().contains("[load_keys] ") && error.to_string().contains("key.pem: "),
        "{error}"
    );
    assert_eq!(error.exit_code(), 78);
    fs::write(
        &key,
        serde_json::json!({"keys": [{"kid": "x"}, Issuer::new(1).jwk()]}).to_string(),
    )
    .unwrap();
    let text = check(directory.path(), &config).unwrap();
    assert!(
        text.contains("warning    ") && text.contains("key 1 (kid \"x\") is left out"),
        "{text}"
    );
}

#[test]
fn a_bad_configuration_keeps_its_phase() {
    let directory = tempfile::tempdir().unwrap();
    let phase = |config: &str| check(directory.path(), config).unwrap_err().phase();
    assert_eq!(phase("["), Phase::LoadConfig);
    assert_eq!(phase("[http]\nstream_base_path = \"\\u00e4\"\n"), Phase::ValidateConfig);
}

#[test]
fn config_prints_warnings_as_comments() {
    let directory = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    config::run(&options(directory.path(), "[server]\nport = 5\n"), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("# warning: "), "{text}");
    assert!(text.contains("bind_address = \"0.0.0.0:5\""), "{text}");
}

#[test]
fn empty_arguments_are_none() {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        config: ConfigArgs,
    }
    let parse = |args: &[&str]| <Cli as clap::Parser>::parse_from(args).config.options();
    let options = parse(&["ds", "--config", "config/durable_streams.yml", "--env", "production"]);
    assert_eq!(
        options.config_path.as_deref(),
        Some(Path::new("config/durable_streams.yml"))
    );
    assert_eq!(options.env.as_deref(), Some("production"));
    assert_eq!(parse(&["ds", "--env", "", "--profile", ""]).env, None);
}
