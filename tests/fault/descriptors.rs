//! A server with few file descriptors.

use super::{
    Setup, read_all,
    support::{http::Connection, until},
};

const MOST: u32 = 100;
const LARGE: usize = 100_000;
const STREAMS: usize = 120;

fn content(number: usize) -> String {
    format!("{number:9};").repeat(LARGE / 10)
}

/// More streams with data files than descriptors, then more connections.
fn serves_within_the_limit(mode: &str) {
    let setup = Setup::new().on_disk(mode).descriptors(MOST);
    let server = setup.start();
    let mut connection = Connection::open(server.public);
    for number in 0..STREAMS {
        let created = server.put(&format!("s/{number}")).text(&content(number));
        created.send_on(&mut connection).unwrap().expect(201);
    }
    // The large streams now have open data files of their own.
    server.stop();
    let server = setup.start();
    let mut connection = Connection::open(server.public);
    for number in 0..STREAMS {
        let read = server.get(&format!("s/{number}")).send_on(&mut connection).unwrap();
        assert_eq!(read.expect(200).text(), content(number));
        server.post(&format!("s/{number}")).text("more").send().expect(204);
    }

    let crowd: Vec<_> = (0..3 * MOST).map(|_| Connection::open(server.public)).collect();
    server
        .post("s/0")
        .text("x")
        .send_on(&mut connection)
        .unwrap()
        .expect(204);
    for number in 0..STREAMS {
        let read = server.get(&format!("s/{number}")).send_on(&mut connection).unwrap();
        assert!(read.expect(200).text().starts_with(&content(number)));
    }
    let large = content(STREAMS).repeat(60);
    server
        .put("large")
        .text(&large)
        .send_on(&mut connection)
        .unwrap()
        .expect(201);
    drop(crowd);
    until("a new connection to be served", || {
        server.get("s/0").try_send().is_ok_and(|answer| answer.status == 200)
    });
    assert!(read_all(&server, "large").0 == large.as_bytes());
    server.kill();
    let server = setup.start();
    assert!(read_all(&server, "large").0 == large.as_bytes());
    assert_eq!(server.content("s/0"), content(0) + "morex");
}

#[test]
fn file_durable_with_few_descriptors() {
    serves_within_the_limit("file-durable");
}

#[test]
fn acid_with_few_descriptors() {
    serves_within_the_limit("acid");
}
