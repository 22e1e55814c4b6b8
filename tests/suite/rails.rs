//! A server started from the Rails form of the configuration.

use std::fs;

use super::support::{
    http::Request,
    server::{Setup, json_line},
    tokens::STREAM,
};

const YAML: &str = r#"
default: &default
  port: <%= ENV.fetch("PORT", "4437") %>
  bind: 127.0.0.1
  auth: &auth
    verify_key: <%= ENV["VERIFY_KEY"] %>
    issuer: https://app.test
  internal:
    port: 0
    allowed_ips:
      - 127.0.0.2
      - 127.1.0.0/16
  log:
    format: json

production:
  <<: *default
  auth:
    <<: *auth
    audience: https://streams.test/v1/streams
  storage:
    data_dir: data
    long_poll_timeout: 1s
"#;

fn production() -> Setup {
    let mut setup = Setup::new().gated();
    fs::write(setup.dir.path().join("durable_streams.yml"), YAML).unwrap();
    let key = setup.key_file().display().to_string();
    setup.variables.retain(|name, _| !name.starts_with("DS_"));
    setup.variable("VERIFY_KEY", &key).variable("PORT", "0");
    // The harness needs to know about the internal listener; the values are those of the file.
    setup.variable("DS_INTERNAL__PORT", "0");
    setup.arguments = ["--config", "durable_streams.yml", "--env", "production"]
        .map(String::from)
        .to_vec();
    setup
}

#[test]
fn the_rails_form_starts_both_listeners_on_a_persistent_store() {
    let setup = production();
    let path = format!("/v1/streams/{STREAM}");
    let server = setup.start();
    let inside = |method: &str| Request::new(server.internal(), method, &path).token(&server.server_token());
    inside("PUT").from([127, 0, 0, 1]).text("a").send().expect(403);
    inside("PUT").from([127, 0, 0, 2]).text("a").send().expect(201);
    inside("POST").from([127, 1, 2, 3]).text("b").send().expect(204);
    let reader = server.client_token(STREAM, &["read"]);
    let read = server.raw("GET", &path).token(&reader).send().expect(200);
    assert_eq!(read.text(), "ab");
    let poll = format!("{path}?live=long-poll&offset={}", read.next_offset());
    server.raw("GET", &poll).token(&reader).send().expect(204);
    server.raw("GET", &path).send().expect(401);
    let line = json_line(&server.log.wait_for("serving"));
    assert_eq!(line["storage"], "Acid");
    server.kill();
    let server = setup.start();
    assert_eq!(server.raw("GET", &path).token(&reader).send().expect(200).text(), "ab");
}

#[test]
fn variables_override_files() {
    let mut setup = production();
    setup
        .variable("DS_HTTP__STREAM_BASE_PATH", "/live")
        .variable("DS_OBSERVABILITY__FORMAT", "console");
    let server = setup.start();
    server
        .raw("PUT", "/live/s")
        .token(&server.server_token())
        .text("a")
        .send()
        .expect(201);
    assert!(!server.log.wait_for("serving").starts_with('{'));
}

#[test]
fn other_erb_is_refused_with_its_line() {
    let setup = production();
    let yaml = YAML.replace("<%= ENV[\"VERIFY_KEY\"] %>", "<%= Rails.root.join('key') %>");
    fs::write(setup.dir.path().join("durable_streams.yml"), yaml).unwrap();
    let (code, _, error) = setup.run(&[]);
    assert_eq!(code, 78, "{error}");
    assert!(error.contains("durable_streams.yml:6"), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}
