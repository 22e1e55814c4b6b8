use std::net::IpAddr;

use crate::webhook::{TargetError, TargetPolicy, WebhookUrl, WebhooksConfig};

fn policy(allowed_hosts: &[&str]) -> TargetPolicy {
    TargetPolicy::new(&WebhooksConfig {
        allowed_hosts: allowed_hosts.iter().map(|host| host.parse().unwrap()).collect(),
        ..WebhooksConfig::default()
    })
}

fn development() -> TargetPolicy {
    TargetPolicy::new(&WebhooksConfig {
        allow_local_http: true,
        ..WebhooksConfig::default()
    })
}

fn refusal(policy: &TargetPolicy, url: &str) -> TargetError {
    match policy.check(url) {
        Err(error) => error,
        Ok(accepted) => panic!("{url} was accepted as {accepted}"),
    }
}

/// How many of a name's addresses may be connected to.
fn reachable(policy: &TargetPolicy, url: &str, addresses: &[&str]) -> usize {
    let url: WebhookUrl = policy.check(url).unwrap();
    let addresses = addresses.iter().map(|address| address.parse::<IpAddr>().unwrap());
    policy
        .check_addresses(&url, addresses)
        .map_or(0, |checked| checked.len())
}

#[test]
fn public_https_urls_are_accepted_in_one_form() {
    for (url, written) in [
        ("https://hooks.example.com", "https://hooks.example.com/"),
        ("HTTPS://Hooks.Example.COM:443/a?b=c", "https://hooks.example.com/a?b=c"),
        ("https://hooks.example.com./x", "https://hooks.example.com/x"),
        ("https://hooks.example.com:8443/", "https://hooks.example.com:8443/"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://%65xample.com/", "https://example.com/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ("https://[64:ff9b::808:808]/", "https://[64:ff9b::808:808]/"),
    ] {
        let accepted = policy(&[]).check(url).unwrap_or_else(|error| panic!("{url} {error}"));
        assert_eq!(accepted.as_str(), written);
        assert_eq!(policy(&[]).check(written).unwrap(), accepted);
    }
}

#[test]
fn other_schemes_and_parts_are_refused() {
    let check = |url: &str| refusal(&policy(&[]), url);
    for url in [
        "http://example.com/",
        "http://localhost/",
        "http://127.0.0.1:3000/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "wss://example.com/",
        "javascript:alert(1)",
        "data:text/plain,x",
    ] {
        let error = check(url);
        assert!(
            matches!(error, TargetError::NotHttps | TargetError::Host),
            "{url}: {error:?}"
        );
    }
    assert_eq!(check("https://user@example.com/"), TargetError::Credentials);
    assert_eq!(check("https://user:pass@example.com/"), TargetError::Credentials);
    assert_eq!(check("https://example.com/#x"), TargetError::Fragment);
    assert_eq!(
        check(&format!("https://example.com/{}", "x".repeat(2048))),
        TargetError::TooLong
    );
    for port in [0, 21, 22, 25, 53, 444, 1023] {
        assert_eq!(check(&format!("https://example.com:{port}/")), TargetError::Port(port));
    }
    for url in [
        "",
        "example.com",
        "//example.com/",
        "https://",
        "https://example.com:99999/",
        "https://a b/",
    ] {
        let error = check(url);
        assert!(
            matches!(error, TargetError::Malformed(_) | TargetError::Characters),
            "{url}: {error:?}"
        );
    }
    for url in [
        "https://exa\tmple.com/",
        " https://example.com/",
        "https://example.com/\n",
        "https:\\\\example.com\\",
    ] {
        assert_eq!(check(url), TargetError::Characters, "{url:?}");
    }
    for url in [
        "https://exa_mple..com/",
        "https://.example.com/",
        "https://example.com../",
    ] {
        assert_eq!(check(url), TargetError::Host, "{url}");
    }
    let long = format!("https://{}.example.com/", "x".repeat(64));
    assert!(matches!(check(&long), TargetError::Host | TargetError::Malformed(_)));
}

#[test]
fn every_spelling_of_a_local_address_is_refused() {
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "0x7f.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "127.255.255.254",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "0xa.1",
        "167772161",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.0.1",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "192.0.0.8",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a00:1]",
        "[64:ff9b:1::a00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
    ] {
        let error = refusal(&policy(&[]), &format!("https://{host}/hook"));
        assert!(matches!(error, TargetError::Address(_)), "{host}: {error:?}");
    }
    // A zone names an interface of this machine.
    for host in ["[fe80::1%25eth0]", "[fe80::1%eth0]"] {
        let error = refusal(&policy(&[]), &format!("https://{host}/"));
        assert!(matches!(error, TargetError::Malformed(_)), "{host}: {error:?}");
    }
}

#[test]
fn names_of_local_networks_are_refused() {
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "ｌocalhost",
        "redis",
        "metadata",
        "metadata.google.internal",
        "printer.local",
        "nas.home.arpa",
        "x.onion",
    ] {
        assert_eq!(
            refusal(&policy(&[]), &format!("https://{host}/")),
            TargetError::LocalName,
            "{host}"
        );
    }
    assert!(policy(&[]).check("https://notlocalhost.com/").is_ok());
    assert!(policy(&[]).check("https://internal.example.com/").is_ok());
}

#[test]
fn the_development_exception_is_for_localhost_over_http_alone() {
    let policy = development();
    for url in [
        "http://localhost:3000/hook",
        "http://localhost/",
        "http://127.0.0.1:9/",
        "http://127.0.0.255:8080/",
    ] {
        if url.ends_with(":9/") {
            assert_eq!(refusal(&policy, url), TargetError::Port(9));
        } else {
            assert!(policy.check(url).is_ok(), "{url}");
        }
    }
    for url in [
        "http://example.com/",
        "http://10.0.0.1/",
        "http://127.0.1.1/",
        "http://[::1]/",
        "http://app.localhost/",
        "http://localhost.example.com/",
        "http://169.254.169.254/",
    ] {
        assert_eq!(refusal(&policy, url), TargetError::NotHttps, "{url}");
    }
    assert_eq!(refusal(&policy, "https://localhost/"), TargetError::LocalName);
    assert!(matches!(
        refusal(&policy, "https://127.0.0.1/"),
        TargetError::Address(_)
    ));
    assert_eq!(
        reachable(
            &policy,
            "http://localhost/",
            &["127.0.0.1", "::1", "10.0.0.1", "8.8.8.8"]
        ),
        2
    );
    assert_eq!(reachable(&policy, "https://example.com/", &["127.0.0.1", "::1"]), 0);
}

#[test]
fn only_listed_hosts_are_reached_where_a_list_is_set() {
    let policy = policy(&["hooks.example.com", "*.example.org"]);
    for url in [
        "https://hooks.example.com/",
        "https://HOOKS.example.com./",
        "https://a.b.example.org/",
    ] {
        assert_eq!(reachable(&policy, url, &["8.8.8.8", "2606:4700::1111"]), 2, "{url}");
    }
    for url in [
        "https://example.com/",
        "https://x.hooks.example.com/",
        "https://example.org/",
    ] {
        assert_eq!(refusal(&policy, url), TargetError::NotListed, "{url}");
    }
    assert!(matches!(refusal(&policy, "https://8.8.8.8/"), TargetError::Address(_)));
}

#[test]
fn private_networks_are_reached_by_an_explicit_entry() {
    // A name opens the private network, and nothing that is more local than that.
    let by_name = policy(&["worker", "hooks.internal"]);
    for url in ["https://worker/", "https://hooks.internal/"] {
        assert_eq!(
            reachable(&by_name, url, &["10.0.0.5", "192.168.1.1", "fd00::1"]),
            3,
            "{url}"
        );
        let local = [
            "127.0.0.1",
            "169.254.0.1",
            "169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
            "::1",
            "0.0.0.0",
        ];
        assert_eq!(reachable(&by_name, url, &local), 0, "{url}");
    }
    // Names below a domain may belong to others.
    let by_suffix = policy(&["*.example.com"]);
    assert_eq!(
        reachable(&by_suffix, "https://a.example.com/", &["10.0.0.5", "8.8.8.8"]),
        1
    );
    // An address or network opens itself, whatever the name.
    let by_network = policy(&["10.0.0.0/24", "127.0.0.9"]);
    assert_eq!(
        reachable(
            &by_network,
            "https://any.example.com/",
            &["10.0.0.5", "10.0.1.5", "8.8.8.8", "127.0.0.9"]
        ),
        2
    );
    assert_eq!(reachable(&by_network, "https://worker/", &["10.0.0.5"]), 1);
    assert!(by_network.check("https://10.0.0.77/").is_ok());
    assert!(by_network.check("https://[::ffff:10.0.0.77]/").is_ok());
    assert!(matches!(
        refusal(&by_network, "https://10.0.1.0/"),
        TargetError::Address(_)
    ));
}

#[test]
fn a_metadata_service_is_reached_by_its_own_entry_alone() {
    let everything = policy(&["0.0.0.0/0", "::/0", "metadata.google.internal"]);
    assert_eq!(
        reachable(
            &everything,
            "https://metadata.google.internal/",
            &["169.254.169.254", "fd00:ec2::254"]
        ),
        0
    );
    assert_eq!(
        reachable(
            &everything,
            "https://any.example.com/",
            &["127.0.0.1", "169.254.0.1", "fe80::1"]
        ),
        3
    );
    let explicit = policy(&["169.254.169.254"]);
    assert!(explicit.check("https://169.254.169.254/").is_ok());
    assert!(explicit.check("https://[::ffff:169.254.169.254]/").is_ok());
}

#[test]
fn a_refusal_names_the_address_and_its_network() {
    let error = refusal(&policy(&[]), "https://0x7f.1/").to_string();
    assert_eq!(
        error,
        "leads to 127.0.0.1 (loopback), which is not in webhooks.allowed_hosts"
    );
}

#[test]
fn a_name_with_thousands_of_addresses_is_tried_a_few_times() {
    let addresses = vec!["8.8.8.8"; 5000];
    assert_eq!(reachable(&policy(&[]), "https://example.com/", &addresses), 4);
}
