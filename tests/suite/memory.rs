//! Bounds on the memory that clients can make the server use.

use super::support::{
    http::Connection,
    live::Event,
    server::{BASE, Server, Setup},
    until,
};

const MIB: usize = 1024 * 1024;

/// Opens connections in steps of `more` until memory stops growing; returns the growth in MiB.
fn growth(server: &Server, before: u64) -> u64 {
    server.memory_kib().saturating_sub(before) / 1024
}

/// The peak growth of the server's memory while `work` runs.
fn peak(server: &Server, work: impl FnOnce()) -> u64 {
    let before = server.memory_kib();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                most = most.max(growth(server, before));
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            most
        });
        work();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        watch.join().unwrap()
    })
}

#[test]
fn a_body_of_tiny_chunks_uses_memory_in_proportion_to_its_content() {
    let server = Setup::new().with("limits.max_stream_bytes", 0).start();
    server.text_stream("s", "");
    let head =
        format!("POST {BASE}/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in ["1\r\nX\r\n", "1;a=b\r\nX\r\n"] {
        let count = if chunk.len() > 6 { 2000 } else { 2 * MIB };
        let grown = peak(&server, || {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut connection = Connection::open(server.public);
                        connection.write(&head);
                        connection.try_write(chunk.repeat(count).as_bytes()).unwrap();
                        connection.write("0\r\n\r\n");
                        connection.answer().expect(204);
                    });
                }
            });
        });
        // 4 bodies of 2 MiB: buffers of up to twice their size, one copy, and the stored data.
        assert!(grown < 64, "{grown} MiB for {chunk:?}");
    }
}

#[test]
fn stalled_readers_hold_at_most_the_budget() {
    let server = Setup::new()
        .with("limits.max_stream_bytes", 0)
        .with("limits.max_memory_bytes", 0)
        .with("limits.max_response_bytes", 32 * MIB)
        .with("limits.max_response_bytes_per_address", 0)
        .start();
    // Larger than the server's chunk cache.
    let message = "x".repeat(4 * MIB);
    for stream in 0..10 {
        server.text_stream(&format!("s{stream}"), &message);
    }
    server.text_stream("small", "a word");
    let before = server.memory_kib();
    let held: Vec<_> = (0..80)
        .map(|index| {
            let stream = index % 10;
            let query = if index % 2 == 0 {
                "offset=-1"
            } else {
                "offset=-1&live=long-poll"
            };
            server.get(&format!("s{stream}?{query}")).open()
        })
        .collect();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(server.content("small"), "a word");
    let grown = growth(&server, before);
    assert!(grown < 32 + 48, "{grown} MiB");
    // Other clients are served promptly.
    until("a large read", || {
        let answer = server.get("s3").send();
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some());
        }
        answer.status == 200
    });
    drop(held);
}

#[test]
fn stalled_live_readers_hold_at_most_the_budget() {
    let server = Setup::new()
        .with("limits.max_stream_bytes", 0)
        .with("limits.max_response_bytes", 32 * MIB)
        .with("limits.max_response_bytes_per_address", 0)
        .with("storage.cache_bytes", 0)
        .start();
    server.text_stream("s", "");
    // Readers at different positions share nothing.
    let append = "x".repeat(16 * 1024);
    let offsets: Vec<_> = (0..200)
        .map(|_| server.post("s").text(&append).send().expect(204).next_offset())
        .collect();
    let before = server.memory_kib();
    let held: Vec<_> = offsets
        .iter()
        .take(120)
        .map(|offset| server.get(&format!("s?offset={offset}&live=sse")).open())
        .collect();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let grown = growth(&server, before);
    // An event holds the chunk it was encoded from.
    assert!(grown < 2 * 32 + 32, "{grown} MiB");
    // Readers at the tail are not delayed.
    let mut tail = server.sse("s", "now");
    tail.next();
    server.post("s").text("news").send().expect(204);
    until("the news", || tail.next() == Some(Event::Data("news".to_owned())));
    drop(held);
}
