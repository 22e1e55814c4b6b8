//! Full disks.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{
    Server,
    disks::SmallDisk,
    read_all,
    support::{http::Connection, until},
};

const STREAMS: usize = 4;

/// A stream and its acknowledged content.
struct Kept {
    name: String,
    content: String,
}

impl Kept {
    /// The next content; numbered, so that no piece equals another.
    fn next(&self, len: usize) -> String {
        let line = format!("{}@{};", self.name, self.content.len());
        line.repeat(len / line.len() + 1)
    }

    /// Appends; returns false if the disk is full.
    fn append(&mut self, server: &Server, len: usize) -> bool {
        let text = self.next(len);
        let answer = server.post(&self.name).text(&text).send();
        if answer.status == 204 {
            self.content += &text;
            return true;
        }
        answer.problem(507);
        assert_eq!(answer.json()["type"], "urn:durable-streams:problem:full");
        false
    }

    #[track_caller]
    fn check(&self, server: &Server) {
        let (content, _) = read_all(server, &self.name);
        assert!(
            content == self.content.as_bytes(),
            "{}: {} bytes instead of {}",
            self.name,
            content.len(),
            self.content.len()
        );
    }
}

fn create(server: &Server, name: &str) -> Option<Kept> {
    let answer = server.put(name).text("").send();
    if answer.status != 201 {
        answer.problem(507);
        return None;
    }
    Some(Kept {
        name: name.to_owned(),
        content: String::new(),
    })
}

/// Appends pieces of several sizes until even the smallest does not fit.
fn fill(server: &Server, streams: &mut [Kept]) {
    for len in [150_000, 20_000, 1_500, 100] {
        let mut refused = 0;
        for at in (0..STREAMS).cycle() {
            if streams[at].append(server, len) {
                refused = 0;
            } else {
                refused += 1;
            }
            if refused > 2 * STREAMS {
                break;
            }
        }
    }
}

fn check(server: &Server, streams: &[Kept]) {
    streams.iter().for_each(|stream| stream.check(server));
}

/// Deletes a stream and waits until its space is free.
fn make_room(server: &Server, streams: &mut [Kept], at: usize) {
    let name = streams[at].name.clone();
    server.delete(&name).send().expect(204);
    server.get(&name).send().problem(404);
    until("space for a stream again", || match create(server, &name) {
        Some(stream) => {
            streams[at] = stream;
            true
        }
        None => false,
    });
    until("space for content again", || streams[at].append(server, 20_000));
}

/// Concurrent writers on a full disk, until the server is killed.
fn kill_while_full(server: Server, streams: &mut [Kept]) -> Vec<Option<String>> {
    let refused = AtomicUsize::new(0);
    let unanswered = std::thread::scope(|scope| {
        let writers: Vec<_> = streams
            .iter_mut()
            .map(|stream| {
                let (server, refused) = (&server, &refused);
                scope.spawn(move || write_until_killed(server, stream, refused))
            })
            .collect();
        until("refusals", || refused.load(Relaxed) > 40);
        server.signal("KILL");
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    server.kill();
    unanswered
}

/// Returns the last append, which was not answered.
fn write_until_killed(server: &Server, stream: &mut Kept, refused: &AtomicUsize) -> Option<String> {
    let mut connection = Connection::try_open(server.public, None).ok()?;
    for len in [9_000, 100, 70_000].into_iter().cycle() {
        let text = stream.next(len);
        let sent: io::Result<_> = server.post(&stream.name).text(&text).send_on(&mut connection);
        match sent {
            Ok(answer) if answer.status == 204 => stream.content += &text,
            Ok(answer) => {
                answer.problem(507);
                refused.fetch_add(1, Relaxed);
            }
            Err(_) => return Some(text),
        }
    }
    None
}

/// An unanswered append is stored completely or not at all.
fn adopt_unanswered(server: &Server, streams: &mut [Kept], unanswered: Vec<Option<String>>) {
    for (stream, text) in streams.iter_mut().zip(unanswered) {
        let (content, _) = read_all(server, &stream.name);
        if let Some(text) = text
            && content.len() > stream.content.len()
        {
            stream.content += &text;
        }
    }
    check(server, streams);
}

fn fills_and_recovers(mode: &str) {
    let disk = SmallDisk::new(12);
    let setup = disk.setup(mode).with("limits.max_stream_bytes", 0);
    let mut server = setup.start();
    let mut streams: Vec<_> = (0..STREAMS)
        .map(|number| create(&server, &format!("stream-{number}")).unwrap())
        .collect();
    for round in 0..4 {
        fill(&server, &mut streams);
        let content: usize = streams.iter().map(|stream| stream.content.len()).sum();
        println!("{mode}, round {round}: {content} bytes fit");
        assert!(content > 1_000_000, "a disk of 12 MiB takes more than {content} bytes");
        check(&server, &streams);
        server = match round {
            0 => server,
            1 => {
                server.stop();
                setup.start()
            }
            _ => {
                let unanswered = kill_while_full(server, &mut streams);
                let server = setup.start();
                adopt_unanswered(&server, &mut streams, unanswered);
                server
            }
        };
        check(&server, &streams);
        assert!(!streams[0].append(&server, 2_000_000), "there is space after a restart");
        make_room(&server, &mut streams, round);
        server.kill();
        server = setup.start();
        check(&server, &streams);
        until("space after a restart", || streams[round].append(&server, 20_000));
    }
    server.stop();
    check(&setup.start(), &streams);
}

#[test]
fn acid_on_a_full_disk() {
    fills_and_recovers("acid");
}

#[test]
fn file_durable_on_a_full_disk() {
    fills_and_recovers("file-durable");
}

#[test]
fn file_fast_on_a_full_disk() {
    fills_and_recovers("file-fast");
}
