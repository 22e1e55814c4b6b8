//! Clients that half-close the connection after their request, as `printf … | nc -N` does.

use std::net::Shutdown;

use super::support::{
    http::Connection,
    server::{BASE, Setup},
    until,
};

fn post(text: &str) -> String {
    let length = text.len();
    format!("POST {BASE}/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n{text}")
}

fn half_close(connection: &Connection) {
    connection.stream.get_ref().shutdown(Shutdown::Write).unwrap();
}

#[test]
fn every_append_is_stored_and_answered() {
    for setup in [Setup::new(), Setup::new().on_disk("file-durable"), Setup::new().acid()] {
        let server = setup.start();
        server.text_stream("s", "");
        for _ in 0..50 {
            let mut connection = Connection::open(server.public);
            connection.write(&post("x"));
            half_close(&connection);
            connection.answer().expect(204);
            assert_eq!(connection.rest(), "");
        }
        // Pipelined requests.
        let mut connection = Connection::open(server.public);
        connection.write(&format!("{}{}{}", post("a"), post("b"), post("c")));
        half_close(&connection);
        for _ in 0..3 {
            connection.answer().expect(204);
        }
        assert_eq!(server.content("s"), format!("{}abc", "x".repeat(50)));
    }
}

#[test]
fn live_reads_survive_a_half_close_and_end_with_the_client() {
    let server = Setup::new().with("transport.connection.sse_heartbeat_secs", 1).start();
    server.text_stream("s", "");
    let mut sse = server.sse("s", "-1");
    half_close(&sse.connection);
    let mut poll = server.get("s?live=long-poll&offset=-1").open();
    half_close(&poll);
    let readers = |mode: &str| server.metric(&format!("ds_live_readers{{mode=\"{mode}\"}}"));
    until("both", || readers("sse") + readers("long-poll") == 2.0);
    server.post("s").text("news").send().expect(204);
    assert_eq!(sse.data(), "news");
    assert_eq!(poll.answer().expect(200).text(), "news");
    // Probes do not end the read.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    server.post("s").text("more").send().expect(204);
    assert_eq!(sse.data(), "more");
    // A client that is really gone is detected without traffic on the stream.
    drop(sse);
    until("a slot to be free", || readers("sse") == 0.0);
}
