use super::*;

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
fn a_url_is_taken_without_a_configuration_and_names_escape_what_they_must() {
    let remote = args("https://streams.test/v1/streams/")
        .remote(no_configuration)
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
        // What the client makes of it is the same.
        assert_eq!(Url::parse(&url).unwrap().as_str(), url);
    }
}

#[test]
fn what_is_no_url_of_streams_is_refused_without_showing_a_password() {
    for url in [
        "streams.test",
        "ftp://x/y",
        "http://",
        "https://x/y?token=hunter2",
        "https://u:hunter2@x/y",
        "http://x/#y",
    ] {
        let Err(error) = args(url).remote(no_configuration) else {
            panic!("{url} was taken");
        };
        let said = error.to_string();
        assert!(said.starts_with("--url: ") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn by_default_it_is_the_configured_server() {
    let url = |edit: fn(&mut Config)| {
        let mut config = Config::default();
        edit(&mut config);
        let remote = RemoteArgs::default().remote(|| Ok(config));
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
