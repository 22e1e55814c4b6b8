//! Keep-alive connections, as proxies use them.

use std::time::Duration;

use super::support::{
    http::{Connection, Request},
    peers::Proxy,
    server::{BASE, Setup},
};

fn setup() -> Setup {
    Setup::new()
        .internal("127.0.0.1")
        .with("transport.connection.header_timeout_secs", 1)
        .with("transport.connection.idle_timeout_secs", 30)
}

#[test]
fn an_idle_connection_outlives_the_header_timeout() {
    let server = setup().start();
    for to in [server.public, server.internal()] {
        let mut connection = Connection::open(to);
        for _ in 0..2 {
            connection.write("GET /up HTTP/1.1\r\nhost: x\r\n\r\n");
            connection.answer().expect(200);
            std::thread::sleep(Duration::from_millis(1500));
        }
        connection.write("GET /up HTTP/1.1\r\nhost: x\r\n\r\n");
        connection.answer().expect(200);
        // A partial request head still times out.
        connection.write("GET /up HTT");
        assert_eq!(connection.rest(), "");
    }
}

#[test]
fn appends_by_way_of_nginx_find_their_connection_open() {
    let server = setup().start();
    server.text_stream("s", "");
    // The block left open is closed by the closing brackets of the harness's file.
    let lines = format!(
        "    location / {{ proxy_pass http://streams; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n  }}\n  \
         upstream streams {{ server {}; keepalive 1; keepalive_timeout 20s;",
        server.public
    );
    let nginx = Proxy::nginx(server.dir(), "nginx", "", &lines);
    // Pauses around the header timeout.
    for pause in [0, 990, 995, 1000, 1005, 1010] {
        std::thread::sleep(Duration::from_millis(pause));
        let append = Request::new(nginx.address, "POST", &format!("{BASE}/s"));
        append.text("x").send().expect(204);
    }
    assert_eq!(server.content("s"), "xxxxxx");
}
