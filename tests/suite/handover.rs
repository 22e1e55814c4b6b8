//! A second server on the same directory takes it over while both have clients.

use std::{
    fs,
    net::SocketAddr,
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::support::{
    http::{Connection, Request},
    live::{Event, Sse},
    server::{BASE, Server},
    storage::{MODES, Talk, on_disk, socket},
    until,
};

const PAUSE: Duration = Duration::from_millis(3);

/// Appends `{prefix}0,`, `{prefix}1,` and so on, on one connection as long as the server keeps it;
/// returns how many.
fn writes(server: &Server, prefix: &'static str, done: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let (to, done) = (server.public, Arc::clone(done));
    thread::spawn(move || {
        let mut connection = Connection::open(to);
        for count in 0.. {
            if done.load(Ordering::Acquire) {
                return count;
            }
            let append = Request::new(to, "POST", &format!("{BASE}/s")).text(&format!("{prefix}{count},"));
            let answer = append.send_on(&mut connection).unwrap().expect(204);
            if answer.header("connection") == Some("close") {
                connection = Connection::open(to);
            }
            thread::sleep(PAUSE);
        }
        0
    })
}

/// The numbers that a writer has written, in the order of the stream.
fn written(content: &str, prefix: &str) -> Vec<usize> {
    let numbers = content.split(',').filter_map(|entry| entry.strip_prefix(prefix));
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// All data up to the close of the stream, in as many live reads as that takes: those of a former
/// holder end after a while.
fn follow(server: &Server, from: &str) -> JoinHandle<String> {
    let open = |server: SocketAddr, offset: &str| {
        let target = format!("{BASE}/s?live=sse&offset={offset}");
        Sse::open(&Request::new(server, "GET", &target))
    };
    let to = server.public;
    let mut reader = open(to, from);
    thread::spawn(move || {
        let (mut content, mut offset, mut is_closed) = (String::new(), String::new(), false);
        loop {
            match reader.next() {
                Some(Event::Data(data)) => content.push_str(&data),
                Some(Event::Control(control)) => {
                    offset = control["streamNextOffset"].as_str().unwrap().to_owned();
                    is_closed = control["streamClosed"] == true;
                }
                Some(_) => {}
                None if is_closed => return content,
                None => reader = open(to, &offset),
            }
        }
    })
}

#[test]
fn writers_and_readers_of_both_servers_do_not_notice() {
    for mode in MODES {
        let setup = on_disk(mode);
        let first = setup.start();
        first.text_stream("s", "");
        let (done, followers) = (Arc::default(), ["-1", "now"].map(|from| follow(&first, from)));
        let kept = writes(&first, "a", &done);
        let second = setup.launch();
        second.log.wait_for("waiting for the data directory");
        let switched = writes(&second, "b", &done);
        first.log.wait_for("handed the data directory over");
        until("both to have written", || {
            let content = second.content("s");
            written(&content, "a").len() > 50 && written(&content, "b").len() > 50
        });
        done.store(true, Ordering::Release);
        let (a, b) = (kept.join().unwrap(), switched.join().unwrap());
        second.post("s").header("stream-closed", "true").send().expect(204);
        let content = second.content("s");
        assert_eq!(written(&content, "a"), Vec::from_iter(0..a), "{mode}");
        assert_eq!(written(&content, "b"), Vec::from_iter(0..b), "{mode}");
        assert_eq!(first.content("s"), content, "{mode}");
        for follower in followers {
            assert_eq!(follower.join().unwrap(), content, "{mode}");
        }
        for (server, part) in [
            (&second, "asking its holder"),
            (&first, "handed the data directory over"),
            (&second, "serving"),
        ] {
            println!("{mode}: {}", server.log.wait_for(part));
        }
        first.stop();
        second.stop();
        assert_eq!(setup.start().content("s"), content, "{mode}");
    }
}

#[test]
fn a_long_poll_at_the_old_server_gets_what_is_written_at_the_new_one() {
    let setup = on_disk("acid");
    let first = setup.start();
    let offset = first.text_stream("s", "abc");
    let mut poll = first.get(&format!("s?live=long-poll&offset={offset}")).open();
    until("the poll to wait", || {
        first.metric("ds_live_readers{mode=\"long-poll\"}") == 1.0
    });
    let second = setup.launch();
    second.post("s").text("def").send().expect(204);
    let answer = poll.answer().expect(200);
    assert_eq!(answer.text(), "def");
    assert_eq!(answer.next_offset(), second.head("s").send().expect(200).next_offset());
}

/// A poll that waited for 2 of its 4 seconds has less than 2 left at the next holder.
#[test]
fn a_long_poll_keeps_its_deadline_across_a_handover() {
    let setup = on_disk("acid").with("transport.connection.long_poll_timeout_secs", 4);
    let first = setup.start();
    let offset = first.text_stream("s", "abc");
    let began = Instant::now();
    let mut poll = first.get(&format!("s?live=long-poll&offset={offset}")).open();
    let second = setup.launch();
    thread::sleep(Duration::from_secs(2).saturating_sub(began.elapsed()));
    second.head("s").send().expect(200);
    poll.answer().expect(204);
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_catch_up_read_under_way_is_finished_by_the_new_server() {
    let setup = on_disk("file-durable")
        .with("limits.max_stream_bytes", 1 << 30)
        .with("storage.cache_bytes", 1 << 20);
    let first = setup.start();
    first
        .put("s")
        .header("content-type", "application/json")
        .send()
        .expect(201);
    let message = format!("\"{}\"", "x".repeat(1 << 20));
    for _ in 0..40 {
        first.post("s").json(&message).send().expect(204);
    }
    let mut slow = first.get("s").open();
    let announced: usize = slow
        .head()
        .unwrap()
        .unwrap()
        .header("content-length")
        .unwrap()
        .parse()
        .unwrap();
    let second = setup.launch();
    second.post("s").json("1").send().expect(204);
    first.log.wait_for("handed the data directory over");
    let mut body = vec![0; announced];
    std::io::Read::read_exact(&mut slow.stream, &mut body).unwrap();
    let messages: Vec<String> = serde_json::from_slice(&body).unwrap();
    assert!(messages.len() == 40 && messages.iter().all(|found| found.len() == 1 << 20));
}

#[test]
fn a_body_that_arrives_during_the_handover_is_appended_once() {
    let setup = on_disk("acid");
    let first = setup.start();
    first.text_stream("s", "a");
    let mut slow = Connection::open(first.public);
    slow.write(&format!(
        "POST {BASE}/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nb"
    ));
    let second = setup.launch();
    assert_eq!(second.content("s"), "a");
    slow.write("c");
    slow.answer().expect(204);
    assert_eq!(second.content("s"), "abc");
}

#[test]
fn a_server_that_goes_before_it_is_needed_leaves_the_holder_in_place() {
    let setup = on_disk("acid");
    let first = setup.start();
    first.text_stream("s", "abc");
    let second = setup.launch();
    second.log.wait_for("waiting for the data directory");
    // A single look at `/readyz` is no prober that waits for it.
    for path in ["/up", "/up", "/readyz", "/metrics"] {
        second.raw("GET", path).send();
    }
    second.stop();
    first.post("s").text("d").send().expect(204);
    assert_eq!(first.log.find("handed the data directory over"), None);
    let third = setup.launch();
    assert_eq!(third.content("s"), "abcd");
    first.log.wait_for("handed the data directory over");
}

/// As in Kubernetes, where traffic comes after readiness.
#[test]
fn a_prober_that_waits_for_readiness_brings_the_handover_about() {
    let setup = on_disk("acid");
    let first = setup.start();
    first.text_stream("s", "abc");
    let second = setup.launch();
    second.log.wait_for("registered with the holder");
    let ready = |server: &Server| server.raw("GET", "/readyz").send().status;
    assert_eq!((ready(&first), ready(&second)), (200, 503));
    until("the new server to be ready", || ready(&second) == 200);
    first.log.wait_for("handed the data directory over");
    // Its proxy may not know the new one yet.
    assert_eq!(ready(&first), 200);
    assert_eq!(first.content("s"), "abc");
}

#[test]
fn live_reads_of_the_former_holder_return_by_themselves() {
    let setup = on_disk("acid").with("shutdown.spread_secs", 1);
    let first = setup.start();
    let offset = first.text_stream("s", "");
    let mut reader = first.sse("s", &offset);
    let second = setup.launch();
    second.post("s").text("a").send().expect(204);
    let events = reader.remainder();
    assert!(events.contains(&Event::Data("a".to_owned())), "{events:?}");
    assert!(matches!(events.last(), Some(Event::Retry(250..=1_000))), "{events:?}");
    // It is still there, and has nobody left.
    assert_eq!(first.metric("ds_live_readers{mode=\"sse\"}"), 0.0);
    assert_eq!(first.content("s"), "a");
}

#[test]
fn kept_connections_to_the_former_holder_end_with_their_next_response() {
    let setup = on_disk("acid");
    let first = setup.start();
    first.text_stream("s", "a");
    let mut kept = Connection::open(first.public);
    let append = first.post("s").text("b");
    assert_eq!(append.send_on(&mut kept).unwrap().header("connection"), None);
    let second = setup.launch();
    assert_eq!(second.content("s"), "ab");
    first.log.wait_for("handed the data directory over");
    let answer = append.send_on(&mut kept).unwrap().expect(204);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(kept.rest(), "");
    assert_eq!(second.content("s"), "abb");
}

#[test]
fn a_holder_that_stops_hands_over_first() {
    let setup = on_disk("acid");
    let first = setup.start();
    first.text_stream("s", "abc");
    let second = setup.launch();
    second.log.wait_for("registered with the holder");
    let log = first.log.clone();
    first.stop();
    log.wait_for("handed the data directory over");
    second.log.wait_for("serving");
    assert_eq!(second.content("s"), "abc");
}

#[test]
fn the_gate_of_the_new_server_judges_the_client_of_the_old_one() {
    let setup = on_disk("acid").gated();
    let first = setup.start();
    first.text_stream("s", "abc");
    let second = setup.launch();
    assert_eq!(second.content("s"), "abc");
    first.log.wait_for("handed the data directory over");
    let path = format!("{BASE}/s");
    first.raw("GET", &path).send().expect(401);
    let reader = first.client_token("s", &["read"]);
    let get = first.raw("GET", &path).token(&reader);
    assert_eq!(get.send().expect(200).text(), "abc");
    first.raw("POST", &path).token(&reader).text("x").send().expect(403);
    // Headers of the protocol come back as they were sent.
    let head = |server: &Server| server.head("s").send().expect(200).shape();
    assert_eq!(head(&first), head(&second));
}

#[test]
fn a_third_server_serves_the_clients_of_the_first() {
    let setup = on_disk("file-fast");
    let first = setup.start();
    first.text_stream("s", "");
    let reader = follow(&first, "-1");
    let second = setup.launch();
    second.post("s").text("b").send().expect(204);
    let third = setup.launch();
    third.post("s").text("c").send().expect(204);
    first.post("s").text("a").send().expect(204);
    // A live read that begins at a former holder is forwarded from the start.
    assert_eq!(second.sse("s", "-1").data(), "bca");
    third.post("s").header("stream-closed", "true").send().expect(204);
    assert_eq!(reader.join().unwrap(), "bca");
}

#[test]
fn live_reads_that_began_at_a_former_holder_end_when_it_stops() {
    let setup = on_disk("acid");
    let first = setup.start();
    let offset = first.text_stream("s", "a");
    let second = setup.launch();
    assert_eq!(second.content("s"), "a");
    first.log.wait_for("handed the data directory over");
    let mut reader = first.sse("s", "-1");
    assert_eq!(reader.data(), "a");
    let mut poll = first.get(&format!("s?live=long-poll&offset={offset}")).open();
    until("both to read", || {
        ["sse", "long-poll"]
            .iter()
            .all(|mode| second.metric(&format!("ds_live_readers{{mode=\"{mode}\"}}")) == 1.0)
    });
    let log = first.log.clone();
    first.stop();
    let stopped = log.wait_for("startup::serve: stopped");
    assert!(!stopped.contains("cut"), "{stopped}");
    assert!(matches!(reader.remainder().last(), Some(Event::Retry(1_000..=3_000))));
    poll.answer().problem(503);
}

#[test]
fn a_new_server_that_is_killed_is_replaced() {
    let setup = on_disk("file-durable");
    let first = setup.start();
    first.text_stream("s", "a");
    let second = setup.launch();
    second.post("s").text("b").send().expect(204);
    second.kill();
    let to = first.public;
    let waiting = thread::spawn(move || {
        let append = Request::new(to, "POST", &format!("{BASE}/s")).text("c");
        append.send().expect(204);
    });
    // Either server may find the directory free.
    let third = setup.launch();
    waiting.join().unwrap();
    assert_eq!(third.content("s"), "abc");
}

#[test]
fn a_holder_of_another_version_is_waited_for() {
    let setup = on_disk("acid");
    let first = setup.start();
    first.text_stream("s", "abc");
    let mut talk = Talk::open(&setup);
    let refusal = talk.write(b"{\"successor\":{\"version\":99}}\n").error();
    assert!(refusal.contains("not 99"), "{refusal}");
    // One that knows nothing of a handover.
    fs::remove_file(socket(&setup)).unwrap();
    let old = UnixListener::bind(socket(&setup)).unwrap();
    let answers = thread::spawn(move || {
        use std::io::{BufRead as _, Write as _};
        let (mut stream, _) = old.accept().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(b"{\"error\":\"unknown request: x\"}\n").unwrap();
        line
    });
    let second = setup.launch();
    second.get("s").send().problem(503);
    assert!(answers.join().unwrap().contains("\"version\":1"));
    let warning = second.log.wait_for("cannot be asked for it");
    assert!(warning.contains("unknown request"), "{warning}");
    first.stop();
    second.log.wait_for("serving");
    assert_eq!(second.content("s"), "abc");
}

#[test]
fn the_socket_is_its_owners() {
    use std::os::unix::fs::PermissionsExt as _;
    let setup = on_disk("acid");
    let server = setup.start();
    let path = setup.data_dir().join("handover.sock");
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    server.stop();
    assert!(!path.exists());
}
