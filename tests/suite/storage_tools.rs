//! `storage check`, `repair` and `migrate` on directories without a running server.

use std::{fs, path::Path};

use super::support::{
    http::Answer,
    rng::TestRng,
    server::Server,
    storage::{MODES, files, find, flip, moved, on_disk, path, refused, storage, succeeds},
};

const STREAMS: [&str; 7] = ["json", "large", "closed", "ttl", "fork", "p", "kept"];

/// One stream of each kind.
pub(super) fn fill(server: &Server) {
    server.put("json").json(r#"[{"a":1},{"a":2}]"#).send().expect(201);
    server.text_stream("large", &"0123456789".repeat(20_000));
    server.post("large").text("the end").send().expect(204);
    server.text_stream("closed", "abc");
    server.post("closed").header("stream-closed", "true").send().expect(204);
    let ttl = server.put("ttl").header("stream-ttl", "3600").text("x");
    ttl.send().expect(201);
    server.fork("fork", "large").send().expect(201);
    server.post("fork").text(" of the fork").send().expect(204);
    server.text_stream("p", "");
    server.post("p").producer("p", 3, 0).text("a").send().expect(200);
    server.post("p").producer("p", 3, 1).text("b").send().expect(200);
    let kept = server.put("kept").header("stream-retention-bytes", "1000");
    kept.text("").send().expect(201);
    for _ in 0..5 {
        server.post("kept").text(&"k".repeat(400)).send().expect(204);
    }
    let head = server.head("kept").send().expect(200);
    assert!(head.header("stream-earliest-offset").is_some(), "{head:?}");
    server.text_stream("deleted", "x");
    server.delete("deleted").send().expect(204);
}

/// Everything that a client can observe.
pub(super) fn seen(server: &Server) -> Vec<(Answer, String)> {
    let of = |name: &str| {
        let mut head = server.head(name).send().expect(200);
        head.headers
            .retain(|(name, _)| name != "date" && name != "x-request-id");
        (head, server.content(name))
    };
    STREAMS.map(of).into()
}

#[track_caller]
fn assert_same(server: &Server, before: &[(Answer, String)]) {
    assert_seen(&seen(server), before);
    assert_continues(server);
}

#[track_caller]
pub(super) fn assert_seen(now: &[(Answer, String)], before: &[(Answer, String)]) {
    for (name, (now, before)) in STREAMS.iter().zip(now.iter().zip(before)) {
        assert_eq!(now.0.headers, before.0.headers, "{name}");
        assert!(now.1 == before.1, "the content of {name} is another");
    }
}

/// What was appended, deleted and closed before stays so, and writers go on where they were.
#[track_caller]
pub(super) fn assert_continues(server: &Server) {
    server.get("deleted").send().expect(404);
    // Offsets stay valid and producers continue.
    let large = server.get("large").send().expect(200);
    let tail = large.next_offset();
    server.post("large").text("!").send().expect(204);
    assert_eq!(server.content(&format!("large?offset={tail}")), "!");
    server.post("p").producer("p", 3, 1).text("b").send().expect(204);
    server.post("p").producer("p", 2, 0).text("a").send().expect(403);
    server.post("p").producer("p", 3, 2).text("c").send().expect(200);
    server.post("closed").text("more").send().expect(409);
    // Ids are not reused.
    server.text_stream("new", "of its own");
    assert_eq!(server.content("new"), "of its own");
    assert_eq!(server.content("p"), "abc");
}

#[test]
fn an_intact_directory_passes_and_is_unchanged() {
    for mode in MODES {
        let setup = on_disk(mode);
        let server = setup.start();
        fill(&server);
        // All data is still in the journal.
        server.kill();
        for _ in 0..2 {
            let before = files(&setup.data_dir());
            let out = succeeds(&setup, &["check"]);
            let dir = setup.data_dir();
            assert!(out.starts_with(&format!("data_dir   {}\n", dir.display())), "{out}");
            assert!(out.contains("streams    7\n") && out.ends_with("\nok\n"), "{out}");
            assert!(files(&dir) == before, "{mode}: a file was changed");
            // All data is now in the index.
            setup.start().stop();
        }
    }
}

#[test]
fn the_tools_refuse_a_locked_directory_and_name_the_holder() {
    let setup = on_disk("acid");
    let server = setup.start();
    let (_, _, error) = setup.clone().with("storage.lock_wait_secs", 0).run(&[]);
    let held = error.lines().last().unwrap().strip_prefix("[start_server] ").unwrap();
    assert!(
        held.contains(&format!("is held by process {} on ", server.pid())),
        "{held}"
    );
    let to = path(&setup, "copy");
    for arguments in [
        &["check"][..],
        &["repair", "--to", &to],
        &["migrate", "--to", &to, "--mode", "acid"],
    ] {
        refused(&setup, arguments, &format!("{held}; stop that server first"));
    }
    assert!(!Path::new(&to).exists());
    server.text_stream("s", "unharmed");
}

#[test]
fn every_mode_migrates_to_every_other() {
    for from in MODES {
        for to in MODES.into_iter().filter(|to| *to != from) {
            let setup = on_disk(from);
            let server = setup.start();
            fill(&server);
            let before = seen(&server);
            server.stop();
            let kept = files(&setup.data_dir());
            let target = path(&setup, "migrated");
            let out = succeeds(&setup, &["migrate", "--to", &target, "--mode", to]);
            assert!(out.contains("copied     7 streams"), "{out}");
            assert!(out.contains(&format!("set storage.mode to {to} and storage.data_dir to {target}")));
            assert!(files(&setup.data_dir()) == kept, "the source was changed");
            let spilt = Path::new(&target).join("data").exists();
            assert_eq!(spilt, to != "acid", "{from} to {to}");
            let setup = moved(&setup, &target, to);
            succeeds(&setup, &["check"]);
            let server = setup.start();
            assert_same(&server, &before);
            server.stop();
            succeeds(&setup, &["check"]);
        }
    }
}

#[test]
fn a_flipped_bit_in_the_index_is_found_and_the_rest_is_repaired() {
    for mode in MODES {
        let setup = on_disk(mode);
        let server = setup.start();
        fill(&server);
        server.text_stream("spoiled", &format!("{}needle{}", "x".repeat(4000), "y".repeat(4000)));
        server.stop();
        let index = setup.data_dir().join("index.redb");
        flip(&index, find(&index, "needle"));
        let damaged = files(&setup.data_dir());
        let (code, out, error) = storage(&setup, &["check"]);
        assert_eq!((code, error.as_str()), (1, ""), "{out}");
        assert!(
            out.contains("problem    ") && out.contains("storage repair --to DIR"),
            "{out}"
        );
        let to = path(&setup, "repaired");
        // Damage is not masked.
        refused(&setup, &["migrate", "--to", &to, "--mode", "acid"], "checksums");
        refused(&setup, &["backup", "--to", &to], "checksums");
        let out = succeeds(&setup, &["repair", "--to", &to]);
        assert!(out.contains("problem    ") && out.contains("next       "), "{out}");
        assert!(files(&setup.data_dir()) == damaged, "the source was changed");
        let repaired = moved(&setup, &to, mode);
        succeeds(&repaired, &["check"]);
        let server = repaired.start();
        assert_eq!(server.content("closed"), "abc");
        assert!(server.content("large").ends_with("the end"));
    }
}

#[test]
fn a_damaged_journal_leaves_the_index_usable() {
    let setup = on_disk("file-durable");
    let server = setup.start();
    server.text_stream("before", "in the index");
    server.stop();
    let server = setup.start();
    for (name, text) in [
        ("first", "first text"),
        ("second", "second text"),
        ("third", "third text"),
    ] {
        server.text_stream(name, text);
    }
    server.kill();
    let journal = setup.data_dir().join("journal");
    // First a record in the middle, then the header, without which no record is readable.
    for (at, problem, kept) in [
        (find(&journal, "second text"), "of the journal is damaged, record", true),
        (3, "the header of the journal", false),
    ] {
        flip(&journal, at);
        let (code, out, _) = storage(&setup, &["check"]);
        assert_eq!(code, 1);
        assert!(out.contains(problem), "{out}");
        let to = path(&setup, &format!("repaired-{at}"));
        let out = succeeds(&setup, &["repair", "--to", &to, "--mode", "acid"]);
        assert!(out.contains(problem) && out.contains("is lost"), "{out}");
        let server = moved(&setup, &to, "acid").start();
        assert_eq!(server.content("before"), "in the index");
        server.get("first").send().expect(if kept { 200 } else { 404 });
        server.get("third").send().expect(404);
        server.text_stream("third", "again");
    }
}

#[test]
fn a_missing_data_file_is_named() {
    let setup = on_disk("file-durable");
    let server = setup.start();
    fill(&server);
    server.stop();
    let data = files(&setup.data_dir().join("data"));
    let (file, content) = data.first_key_value().unwrap();
    for (content, problem) in [
        (Some(&content[..70_000]), "`large` has 70000 bytes"),
        (None, "`large` is missing"),
    ] {
        match content {
            Some(content) => fs::write(file, content).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        let (code, out, _) = storage(&setup, &["check"]);
        assert_eq!(code, 1);
        assert!(out.contains(problem), "{out}");
    }
    let to = path(&setup, "repaired");
    let out = succeeds(&setup, &["repair", "--to", &to]);
    assert!(out.contains("`large`"), "{out}");
    let server = moved(&setup, &to, "acid").start();
    assert_eq!(server.content("closed"), "abc");
}

#[test]
fn no_flipped_bit_crashes_the_tools() {
    let setup = on_disk("acid");
    let server = setup.start();
    fill(&server);
    server.stop();
    let server = setup.start();
    server.post("json").json("[3]").send().expect(204);
    server.kill();
    let whole = files(&setup.data_dir());
    let mut rng = TestRng::new(7);
    for round in 0..24 {
        for (path, content) in &whole {
            fs::write(path, content).unwrap();
        }
        let (path, content) = whole.iter().nth(round % 2).unwrap();
        // Most of the index file is free space, which nothing reads.
        let written: Vec<usize> = (0..content.len()).filter(|at| content[*at] != 0).collect();
        let at = *rng.pick(&written).unwrap();
        flip(path, at as u64);
        let said = format!("a bit at {at} of {}", path.display());
        let (code, out, error) = storage(&setup, &["check"]);
        assert!(matches!(code, 0 | 1), "{said}: {out}{error}");
        let to = setup.dir.path().join(format!("repaired-{round}"));
        let (code, out, error) = storage(&setup, &["repair", "--to", to.to_str().unwrap()]);
        match code {
            0 => assert!(out.contains("copied     "), "{said}: {out}"),
            1 => assert!(!to.exists() && error.contains("damaged"), "{said}: {error}"),
            _ => panic!("{said}: {error}"),
        }
    }
}
