//! `storage backup`, mostly of a running server.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::support::{
    http::Connection,
    namespaces, position,
    server::{Server, Setup},
    storage::{self, Talk, backs_up, backup, on_copy, socket},
    until,
};

const WRITERS: usize = 8;
const STREAMS: usize = 4;

fn on_disk(mode: &str) -> Setup {
    storage::on_disk(mode).with("limits.max_stream_bytes", 0)
}

/// Large enough that the copy takes a while.
fn fill(server: &Server, mebibytes: usize) {
    let body = vec![b'x'; 1 << 20];
    server.text_stream("large", "");
    let mut connection = Connection::open(server.public);
    for _ in 0..mebibytes {
        let request = server.post("large").header("content-type", "text/plain");
        let answer = request.body(body.clone()).send_on(&mut connection).unwrap();
        answer.expect(204);
    }
}

fn write(server: &Server, writer: usize, acknowledged: &AtomicUsize, stop: &AtomicBool) {
    let stream = format!("s{}", writer % STREAMS);
    let mut connection = Connection::open(server.public);
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let message = format!("[[{writer},{n}]]");
        let request = server
            .post(&stream)
            .json(&message)
            .producer(&format!("w{writer}"), 0, n);
        request.send_on(&mut connection).unwrap().expect(200);
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// The number of messages per writer; fails unless each is there once and in order.
#[track_caller]
fn count_messages(server: &Server) -> [usize; WRITERS] {
    let mut seen = [0; WRITERS];
    for stream in 0..STREAMS {
        let mut offset = "-1".to_owned();
        loop {
            let answer = server.get(&format!("s{stream}?offset={offset}")).send().expect(200);
            for message in answer.json().as_array().unwrap() {
                let number = |at: usize| usize::try_from(message[at].as_u64().unwrap()).unwrap();
                let writer = number(0);
                assert_eq!(number(1), seen[writer], "writer {writer} is out of order");
                seen[writer] += 1;
            }
            offset = answer.next_offset();
            if answer.header("stream-up-to-date").is_some() {
                break;
            }
        }
    }
    seen
}

#[test]
fn a_backup_under_load_has_everything_acknowledged_before_it() {
    for mode in ["acid", "file-durable", "file-fast"] {
        let setup = on_disk(mode);
        let server = setup.start();
        fill(&server, 24);
        for stream in 0..STREAMS {
            server.put(&format!("s{stream}")).json("").send().expect(201);
        }
        let acknowledged: [AtomicUsize; WRITERS] = Default::default();
        let counts = || acknowledged.each_ref().map(|count| count.load(Ordering::SeqCst));
        let stop = AtomicBool::new(false);
        let to = setup.dir.path().join("backup");
        let before = std::thread::scope(|scope| {
            for (writer, acknowledged) in acknowledged.iter().enumerate() {
                let (server, stop) = (&server, &stop);
                scope.spawn(move || write(server, writer, acknowledged, stop));
            }
            until("writes", || counts().iter().all(|count| *count > 20));
            let before = counts();
            let mut talk = Talk::open(&setup);
            talk.ask(&to);
            let asked = talk.hear().expect("an answer");
            assert!(asked["progress"]["bytes"].is_u64(), "{asked}");
            // The server serves requests during the backup.
            let during = counts();
            until("writes during the backup", || {
                let now = counts();
                (0..WRITERS).all(|writer| now[writer] > during[writer])
            });
            let done = talk.end();
            assert_eq!(done["done"]["streams"], STREAMS + 1, "{done}");
            stop.store(true, Ordering::SeqCst);
            before
        });
        let after = count_messages(&server);
        server.stop();
        let copy = on_copy(&setup, &to);
        let (code, out, _) = copy.run(&["storage", "check"]);
        assert_eq!(code, 0, "{out}");
        let server = copy.start();
        let kept = count_messages(&server);
        for writer in 0..WRITERS {
            assert!(
                (before[writer]..=after[writer]).contains(&kept[writer]),
                "{mode}: of writer {writer} {before:?} were acknowledged before, {kept:?} are in the backup"
            );
            let next = kept[writer] as u64;
            let stream = format!("s{}", writer % STREAMS);
            let request = server
                .post(&stream)
                .json("[0]")
                .producer(&format!("w{writer}"), 0, next - 1);
            request.send().expect(204);
        }
        let tail = server.head("large").send().expect(200).next_offset();
        assert_eq!(position(&tail), 24 * ((1 << 20) + 3), "{tail}");
    }
}

#[test]
fn a_backup_needs_no_server() {
    for mode in ["acid", "file-durable"] {
        let setup = on_disk(mode);
        let server = setup.start();
        server.text_stream("s", &"x".repeat(100_000));
        let running = setup.dir.path().join("running");
        let out = backs_up(&setup, &running);
        assert_eq!(
            out,
            format!("copied     1 streams with 100003 bytes to {}\n", running.display())
        );
        server.post("s").text("y").send().expect(204);
        server.kill();
        let stopped = setup.dir.path().join("stopped");
        backs_up(&setup, &stopped);
        for (copy, len) in [(running, 100_000), (stopped, 100_001)] {
            assert_eq!(copy.join("data").exists(), mode == "file-durable");
            let server = on_copy(&setup, &copy).start();
            assert_eq!(server.content("s").len(), len);
            server.post("s").text("z").send().expect(204);
        }
    }
}

#[test]
fn there_is_one_backup_at_a_time_and_none_without_a_listener() {
    let setup = on_disk("acid");
    let server = setup.start();
    fill(&server, 64);
    let (first, second) = (setup.dir.path().join("first"), setup.dir.path().join("second"));
    let mut talk = Talk::open(&setup);
    talk.ask(&first).hear().expect("progress");
    let refusal = Talk::open(&setup).ask(&second).error();
    assert!(refusal.contains("another backup is being made"), "{refusal}");
    assert!(!second.exists());
    // The client is gone, so the copy is abandoned.
    drop(talk);
    server.log.wait_for("backup failed");
    until("the rest to be removed", || !first.with_extension("partial").exists());
    assert!(!first.exists());
    backs_up(&setup, &second);
}

#[test]
fn a_stop_ends_a_backup() {
    let setup = on_disk("file-durable");
    let mut server = setup.start();
    fill(&server, 64);
    let to = setup.dir.path().join("backup");
    let mut talk = Talk::open(&setup);
    talk.ask(&to).hear().expect("progress");
    server.signal("TERM");
    let error = talk.error();
    assert!(error.contains("the server is stopping"), "{error}");
    assert_eq!(server.wait().code(), Some(0));
    assert!(!to.exists() && !to.with_extension("partial").exists());
    assert!(!socket(&setup).exists(), "the socket still exists");
    server.log.wait_for("stopped");
}

#[test]
fn a_killed_backup_is_not_accepted_as_complete() {
    let setup = on_disk("file-durable");
    let server = setup.start();
    // Long enough that the kill comes before the end.
    fill(&server, 128);
    let to = setup.dir.path().join("backup");
    let mut talk = Talk::open(&setup);
    talk.ask(&to).hear().expect("progress");
    server.kill();
    assert_eq!(talk.hear(), None);
    assert!(!to.exists() && to.with_extension("partial").exists());
    let server = setup.start();
    // The new server replaced the killed server's socket.
    let (code, _, error) = backup(&setup, &to);
    assert_eq!(code, 1);
    assert!(
        error.contains("backup.partial: already exists") && error.contains("remove it"),
        "{error}"
    );
    fs::remove_dir_all(to.with_extension("partial")).unwrap();
    backs_up(&setup, &to);
    drop(server);
}

#[test]
fn the_server_reports_why_a_backup_failed() {
    let setup = on_disk("acid");
    let server = setup.start();
    server.text_stream("s", "x");
    let dir = setup.dir.path();
    fs::create_dir(dir.join("full")).unwrap();
    fs::write(dir.join("full/file"), "x").unwrap();
    for (to, part) in [
        ("full", "is not empty"),
        ("no/where", "does not exist"),
        ("data/x", "is inside the data directory"),
    ] {
        let (code, out, error) = backup(&setup, &dir.join(to));
        assert_eq!((code, out.as_str()), (1, ""), "{error}");
        assert!(error.contains(part), "{error}");
    }
    server.text_stream("t", "unharmed");
    fs::remove_file(socket(&setup)).unwrap();
    let (code, _, error) = backup(&setup, &dir.join("backup"));
    assert_eq!(code, 1);
    let holder = format!("is held by process {} on ", server.pid());
    assert!(
        error.contains(&holder) && error.contains("control socket does not answer"),
        "{error}"
    );
}

#[test]
fn a_full_disk_fails_a_backup_with_a_clear_error() {
    let setup = on_disk("file-durable");
    let disk = setup.dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = format!("mount -t tmpfs -o size=4m none {}", disk.display());
    let server = setup.spawn_with(namespaces::command(&setup, "-m", &mount));
    server.log.wait_for("serving");
    fill(&server, 8);
    // In the server's mount namespace this path is another disk.
    let (code, out, error) = backup(&setup, &disk.join("backup"));
    assert_eq!((code, out.as_str()), (1, ""), "{error}");
    assert!(
        error.contains("the disk has") || error.contains("No space left"),
        "{error}"
    );
    server.post("large").text("goes on").send().expect(204);
    let (_, _, error) = backup(&setup, &disk);
    assert!(error.contains("disk: is a mount point"), "{error}");
    // The failed copy was removed, so a smaller one fits.
    server.delete("large").send().expect(204);
    server.text_stream("small", "x");
    backs_up(&setup, &disk.join("backup"));
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
}
