//! The allow-list of the internal listener.

use ipnet::IpNet;
use tokio::io::AsyncWriteExt;

use super::support::{app, bind, connect_from, read_all};
use crate::{
    clock::Clock,
    engine::LimitsConfig,
    listener::{ConnectionConfig, Server, contains},
};

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter()
        .map(|net| {
            net.parse()
                .unwrap_or_else(|_| IpNet::from(net.parse::<std::net::IpAddr>().unwrap()))
        })
        .collect()
}

#[test]
fn ipv4_mapped_addresses_count_as_ipv4() {
    for (list, ip, expected) in [
        (&["127.0.0.1"][..], "127.0.0.1", true),
        (&["127.0.0.1"], "127.0.0.2", false),
        (&["127.0.0.0/30"], "127.0.0.3", true),
        (&["127.0.0.0/30"], "127.0.0.4", false),
        (&["10.0.0.0/8"], "::ffff:10.1.2.3", true),
        (&["::ffff:10.1.2.3"], "10.1.2.3", true),
        (&["::/0"], "::ffff:10.1.2.3", true),
        (&["fd00::/8"], "fd12::1", true),
        (&["fd00::/8"], "fe80::1", false),
        (&[], "127.0.0.1", false),
    ] {
        assert_eq!(contains(&nets(list), ip.parse().unwrap()), expected, "{ip} in {list:?}");
    }
}

async fn ask(from: &str, listen: &str, allowed: &[&str], request: &str) -> String {
    let server = Server::new(&LimitsConfig::default(), &ConnectionConfig::default(), Clock::system());
    let listener = bind(listen);
    let port = listener.address().port();
    server.serve_internal(listener, nets(allowed), app());
    let mut socket = connect_from(from, format!("127.0.0.1:{port}").parse().unwrap()).await;
    socket.write_all(request.as_bytes()).await.unwrap();
    read_all(&mut socket).await
}

const REQUEST: &str =
    "GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_peer_on_the_list_is_served() {
    let answer = ask("127.0.0.7", "127.0.0.1:0", &["127.0.0.4/30"], REQUEST).await;
    assert!(answer.contains("GET /a from 127.0.0.7 on Internal"), "{answer}");
}

#[tokio::test]
async fn a_peer_outside_the_list_gets_403_whatever_it_sends() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    for request in [
        REQUEST,
        "rubbish",
        "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n",
        &long,
    ] {
        let answer = ask("127.0.0.8", "127.0.0.1:0", &["127.0.0.4/30"], request).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        assert!(
            answer.contains("content-type: application/problem+json\r\n"),
            "{answer}"
        );
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.contains(r#""status":403"#), "{answer}");
    }
}

#[tokio::test]
async fn an_ipv4_peer_of_an_ipv6_socket_counts_as_ipv4() {
    let answer = ask("127.0.0.7", "[::]:0", &["127.0.0.7"], REQUEST).await;
    assert!(answer.contains("from 127.0.0.7 on Internal"), "{answer}");
    let answer = ask("127.0.0.8", "[::]:0", &["127.0.0.7"], REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}
