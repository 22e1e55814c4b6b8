use reqwest::Url;

use super::*;
use crate::{clock::Clock, config::Config, protocol::StreamName, startup::StartupError};

fn args(url: &str) -> RemoteArgs {
    RemoteArgs {
        url: Some(url.to_owned()),
        ..RemoteArgs::default()
    }
}

fn no_configuration() -> Result<Config, StartupError> {
    panic!("there is no need for a configuration")
}

#[test]
fn a_url_needs_no_configuration_and_names_are_escaped() {
    let remote = args("https://streams.test/v1/streams/")
        .remote(&Clock::system(), no_configuration)
        .unwrap();
    assert_eq!(remote.base(), "https://streams.test/v1/streams");
    for (name, path) in [
        ("gid://app/Room/1", "gid://app/Room/1"),
        ("a b%2F\"'?#\\;+&=", "a%20b%252F%22%27%3F%23%5C%3B%2B%26%3D"),
        ("ü/~.", "%C3%BC/~."),
        ("//x/", "//x/"),
    ] {
        let url = remote.stream_url(&StreamName::new(name).unwrap());
        assert_eq!(url, format!("https://streams.test/v1/streams/{path}"));
        // The client does not change it.
        assert_eq!(Url::parse(&url).unwrap().as_str(), url);
    }
}

#[test]
fn a_url_that_is_not_of_streams_is_refused_without_showing_a_password() {
    for url in [
        "streams.test",
        "ftp://x/y",
        "http://",
        "https://x/y?token=hunter2",
        "https://u:hunter2@x/y",
        "http://x/#y",
    ] {
        let Err(error) = args(url).remote(&Clock::system(), no_configuration) else {
            panic!("{url} was taken");
        };
        let said = error.to_string();
        assert!(said.starts_with("--url: ") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn the_default_is_the_configured_server() {
    let url = |edit: fn(&mut Config)| {
        let mut config = Config::default();
        edit(&mut config);
        let remote = RemoteArgs::default().remote(&Clock::system(), || Ok(config));
        remote
            .map(|remote| remote.base().to_owned())
            .map_err(|error| error.to_string())
    };
    assert_eq!(url(|_| ()).unwrap(), "http://127.0.0.1:4437/v1/stream");
    let tls = |config: &mut Config| config.transport.mode = crate::config::TransportMode::Tls;
    assert!(url(tls).unwrap_err().contains("give --url"));
    let internal = |config: &mut Config| {
        config.transport.mode = crate::config::TransportMode::Tls;
        config.internal = Some(crate::config::InternalConfig::default());
    };
    assert_eq!(url(internal).unwrap(), "http://127.0.0.1:4438/v1/stream");
    let domain = |config: &mut Config| {
        config.transport.mode = crate::config::TransportMode::Tls;
        config.transport.acme.domain = Some("streams.test".into());
    };
    assert_eq!(url(domain).unwrap(), "https://streams.test:4437/v1/stream");
}

#[test]
fn a_token_is_not_sent_over_plain_http_to_a_public_host() {
    let remote = |url: &str, insecure: bool| {
        let args = RemoteArgs {
            token: Some("a.b.c".into()),
            insecure,
            ..args(url)
        };
        args.remote(&Clock::system(), no_configuration)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    for public in [
        "http://streams.test/v1/streams",
        "http://192.0.2.7:4437",
        "http://[2001:db8::1]/v1",
        "http://localhost.evil.test/v1",
        "http://127.0.0.1.evil.test/v1",
        "http://10.0.0.1.nip.io/v1",
        "http://[::ffff:192.0.2.7]/v1",
    ] {
        let said = remote(public, false).unwrap_err();
        assert!(
            said.contains("use https, or --insecure") && !said.contains("a.b.c"),
            "{said}"
        );
        assert_eq!(remote(public, true), Ok(()), "{public}");
    }
    for fine in [
        "https://streams.test/v1",
        "http://localhost:4437",
        "http://app.localhost",
        "http://127.0.0.1:4437",
        "http://[::1]:4437",
        "http://10.0.0.5:4438/v1",
        "http://192.168.1.2",
        "http://[fd00::1]/v1",
        "http://streams:4438",
        "http://streams.internal",
        "http://nas.local",
    ] {
        assert_eq!(remote(fine, false), Ok(()), "{fine}");
    }
    // An open server is sent no token.
    assert!(
        args("http://streams.test/v1")
            .remote(&Clock::system(), no_configuration)
            .is_ok()
    );
}

#[test]
fn a_token_comes_from_the_first_line_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let token = |content: &str| {
        std::fs::write(&file, content).unwrap();
        let args = RemoteArgs {
            token: Some("from.the.variable".into()),
            token_file: Some(file.clone()),
            ..args("https://streams.test/v1")
        };
        args.given_token().map_err(|error| error.to_string())
    };
    assert_eq!(token("a.b.c\nnot this\n"), Ok(Some("a.b.c".into())));
    assert_eq!(token("  a.b.c \r\n"), Ok(Some("a.b.c".into())));
    assert!(token("\n").unwrap_err().contains("there is no token in its first line"));
    assert!(token("").unwrap_err().contains("/token: "));
}
