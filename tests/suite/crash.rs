//! SIGKILL under writes: what was acknowledged is there, once and in order.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::support::{
    server::{Server, Setup},
    until,
};

const WRITERS: usize = 6;
const ROUNDS: usize = 6;

/// Appends numbered messages until the server is gone. Returns how many were acknowledged,
/// counted from `from`; the next one may or may not have been stored.
fn write_until_killed(server: &Server, writer: usize, from: usize, acknowledged: &AtomicUsize) -> usize {
    let mut next = from;
    loop {
        let message = format!("[{writer},{next}]");
        let request = server.post("s").json(&format!("[{message}]"));
        match request.producer(&format!("w{writer}"), 0, next as u64).try_send() {
            // 204: it was there already, from before the last crash.
            Ok(answer) if answer.status == 200 || answer.status == 204 => {
                next += 1;
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            Ok(answer) => panic!("{answer:?}"),
            Err(_) => return next,
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_no_retry_lands_twice() {
    let setup = Setup::new().acid().with("limits.max_stream_bytes", 0);
    let mut next = [0; WRITERS];
    setup.start().put("s").json("").send().expect(201);
    for round in 0..ROUNDS {
        let server = setup.start();
        let acknowledged = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let writers: Vec<_> = next
                .into_iter()
                .enumerate()
                .map(|(writer, from)| {
                    let (server, acknowledged) = (&server, &acknowledged);
                    scope.spawn(move || write_until_killed(server, writer, from, acknowledged))
                })
                .collect();
            until("writes", || acknowledged.load(Ordering::SeqCst) > 40 + 17 * round);
            server.signal("KILL");
            for (writer, handle) in writers.into_iter().enumerate() {
                next[writer] = handle.join().unwrap();
            }
        });
    }
    let server = setup.start();
    let mut seen = [0; WRITERS];
    let mut offset = "-1".to_owned();
    loop {
        let answer = server.get(&format!("s?offset={offset}")).send().expect(200);
        for message in answer.json().as_array().unwrap() {
            let number = |at: usize| usize::try_from(message[at].as_u64().unwrap()).unwrap();
            let (writer, n) = (number(0), number(1));
            assert_eq!(n, seen[writer], "writer {writer} is out of order");
            seen[writer] += 1;
        }
        offset = answer.next_offset();
        if answer.header("stream-up-to-date").is_some() {
            break;
        }
    }
    for writer in 0..WRITERS {
        let unanswered = seen[writer].checked_sub(next[writer]);
        assert!(
            matches!(unanswered, Some(0 | 1)),
            "{writer}: {} of {} are there",
            seen[writer],
            next[writer]
        );
    }
}

#[test]
fn creation_closure_and_deletion_survive_a_kill() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server.text_stream("kept", "a");
    server.text_stream("deleted", "a");
    server.text_stream("closed", "a");
    server.delete("deleted").send().expect(204);
    server
        .post("closed")
        .text("b")
        .header("stream-closed", "true")
        .send()
        .expect(204);
    server.kill();
    let server = setup.start();
    assert_eq!(server.content("kept"), "a");
    server.get("deleted").send().expect(404);
    let closed = server.get("closed").send().expect(200);
    assert_eq!(
        (closed.text().as_str(), closed.header("stream-closed")),
        ("ab", Some("true"))
    );
}

#[test]
fn a_reader_goes_on_from_its_offset_after_a_kill() {
    let setup = Setup::new().acid();
    let server = setup.start();
    server.text_stream("s", "abc");
    let offset = server.get("s").send().expect(200).next_offset();
    server.post("s").text("def").send().expect(204);
    server.kill();
    let server = setup.start();
    assert_eq!(server.content(&format!("s?offset={offset}")), "def");
    let mut sse = server.sse("s", &offset);
    assert_eq!(sse.data(), "def");
}
