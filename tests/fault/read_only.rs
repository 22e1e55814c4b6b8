//! A data directory that becomes read-only, while serving and at startup.

use super::{PERSISTENT, Server, Setup, disks::SmallDisk, read_all, support::until};

/// A stream that is read while the disk is broken.
struct Kept(String);

impl Kept {
    fn create(server: &Server) -> Self {
        let content = "line\n".repeat(30_000);
        server.text_stream("s", &content);
        server.text_stream("other", "abc");
        Self(content)
    }

    #[track_caller]
    fn append(&mut self, server: &Server) {
        let line = format!("line {}\n", self.0.len());
        server.post("s").text(&line).send().expect(204);
        self.0 += &line;
    }

    #[track_caller]
    fn check(&self, server: &Server) {
        let (content, _) = read_all(server, "s");
        assert!(
            content == self.0.as_bytes(),
            "{} bytes, not {}",
            content.len(),
            self.0.len()
        );
        assert_eq!(server.content("other"), "abc");
    }
}

/// Every write is refused with a problem that gives the reason, and changes nothing.
#[track_caller]
fn assert_refuses_writes(server: &Server) {
    let appended = server.post("s").text("x").send();
    let created = server.put("new").text("x").send();
    let forked = server.fork("fork", "s").send();
    let closed = server.post("s").header("stream-closed", "true").send();
    let deleted = server.delete("other").send();
    for answer in [appended, created, forked, closed, deleted] {
        answer.problem(503);
        assert_eq!(answer.json()["type"], "urn:durable-streams:problem:read-only");
    }
    server.get("new").send().problem(404);
    server.get("fork").send().problem(404);
    server.raw("GET", "/up").send().expect(200);
}

fn read_only_directory(mode: &str) {
    let disk = SmallDisk::ext4(24);
    let setup = disk.setup(mode);
    let server = setup.start();
    let mut kept = Kept::create(&server);
    for round in 0..3 {
        kept.append(&server);
        disk.freeze(true);
        assert_refuses_writes(&server);
        kept.check(&server);
        let mut sse = server.sse("other", "-1");
        assert_eq!(sse.data(), "abc");
        assert_refuses_writes(&server);
        disk.freeze(false);
        kept.append(&server);
        kept.check(&server);
        server.text_stream(&format!("new-{round}"), "x");
    }
    server.kill();
    let server = setup.start();
    kept.check(&server);
    kept.append(&server);
}

#[test]
fn a_read_only_directory_stays_readable_and_becomes_writable_again() {
    PERSISTENT.into_iter().for_each(read_only_directory);
}

/// ext4 remounts read-only after an error. A running server keeps reading, a new one reports the
/// error, and after a repair all data is there.
fn failed_file_system(mode: &str) {
    let disk = SmallDisk::ext4(24);
    let setup = disk.setup(mode);
    let server = setup.start();
    let mut kept = Kept::create(&server);
    kept.append(&server);
    disk.break_down();
    until("the file system to be read-only", || {
        server.put("probe").send().status == 503
    });
    assert_refuses_writes(&server);
    kept.check(&server);
    server.kill();

    assert_refuses_to_start(&setup);
    disk.unmount();
    disk.repair();
    disk.mount("ro").unwrap();
    assert_refuses_to_start(&setup);
    disk.unmount();
    disk.mount("rw").unwrap();
    let server = setup.start();
    kept.check(&server);
    kept.append(&server);
    server.stop();
    kept.check(&setup.start());
}

#[track_caller]
fn assert_refuses_to_start(setup: &Setup) {
    let (code, _, said) = setup.run(&[]);
    assert_eq!(code, 1, "{said}");
    let errors: Vec<_> = said.lines().filter(|line| line.contains("[start_server]")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(errors[0].contains("Read-only file system"), "{said}");
    assert!(errors[0].contains(&setup.variables["DS_STORAGE__DATA_DIR"]), "{said}");
}

#[test]
fn a_failed_file_system_stays_readable_and_recovers_after_fsck() {
    // file-fast may lose acknowledged data when the file system fails.
    failed_file_system("acid");
    failed_file_system("file-durable");
}
