//! Data files that lost acknowledged bytes.

use std::{fs, path::PathBuf};

use super::support::{
    server::{Server, Setup},
    storage::{files, on_disk, storage},
};

fn data_file(setup: &Setup) -> PathBuf {
    let dir = setup.data_dir();
    let is_data = |path: &PathBuf| path.starts_with("data");
    let mut found = files(&dir).into_keys().map(|path| relative(&dir, path)).filter(is_data);
    let file = found.next().expect("a data file");
    assert_eq!(found.next(), None);
    dir.join(file)
}

fn relative(dir: &PathBuf, path: PathBuf) -> PathBuf {
    path.strip_prefix(dir).map(PathBuf::from).unwrap_or(path)
}

/// Appends to the stream fail; other streams are unaffected.
#[track_caller]
fn assert_refuses_appends(server: &Server) {
    for _ in 0..3 {
        let answer = server.post("large").text("more").send();
        answer.problem(500);
        assert_eq!(answer.json()["type"], "urn:durable-streams:problem:damaged");
        server.post("small").text("!").send().expect(204);
    }
    let close = server.post("large").header("stream-closed", "true").text("more").send();
    close.problem(500);
    server.get("large").send().problem(500);
    assert!(server.content("small").starts_with("small"));
}

#[test]
fn a_stream_with_lost_bytes_refuses_appends() {
    let cut: fn(&PathBuf) = |file| {
        let len = fs::metadata(file).unwrap().len();
        fs::OpenOptions::new()
            .write(true)
            .open(file)
            .unwrap()
            .set_len(len - 1000)
            .unwrap();
    };
    let empty: fn(&PathBuf) = |file| fs::write(file, "").unwrap();
    let remove: fn(&PathBuf) = |file| fs::remove_file(file).unwrap();
    for mode in ["file-durable", "file-fast"] {
        for damage in [cut, empty, remove] {
            let setup = on_disk(mode);
            let server = setup.start();
            server.text_stream("large", &"0123456789".repeat(300_000));
            server.text_stream("small", "small");
            server.stop();
            let file = data_file(&setup);
            damage(&file);
            let left = fs::metadata(&file).ok().map(|metadata| metadata.len());
            // The same after a restart and after a crash.
            for round in 0..3 {
                let server = setup.start();
                assert_refuses_appends(&server);
                server.log.wait_for("stream is damaged");
                if round == 1 {
                    server.kill();
                } else {
                    server.stop();
                }
                let now = fs::metadata(&file).ok().map(|metadata| metadata.len());
                assert_eq!(now, left, "{mode}: the file was written to");
            }
            let (code, out, _) = storage(&setup, &["check"]);
            assert_eq!(code, 1, "{out}");
            assert!(out.contains("the file of `large`"), "{out}");
            let server = setup.start();
            server.fork("fork", "small").send().expect(201);
            server.delete("large").send().expect(204);
            server.text_stream("large", "again");
            server.post("large").text("!").send().expect(204);
            assert_eq!(server.content("large"), "again!");
            server.stop();
            let (code, out, _) = storage(&setup, &["check"]);
            assert_eq!(code, 0, "{out}");
        }
    }
}
