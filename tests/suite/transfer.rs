//! `export` and `import`.

use std::fs;

use serde_json::{Value, json};

use super::{
    streams_cli::Shell,
    support::{
        http::escape,
        rng::TestRng,
        server::{Server, Setup},
    },
};

/// A few megabytes of binary data.
pub(super) fn noise() -> Vec<u8> {
    TestRng::new(7).bytes(2_500_000)
}

pub(super) fn unlimited(setup: Setup) -> Setup {
    setup
        .with("limits.max_stream_bytes", 0)
        .with("limits.max_memory_bytes", 0)
}

/// The whole stream, one element per page; each page of a JSON stream is an array.
pub(super) fn read_pages(server: &Server, name: &str) -> (Vec<Vec<u8>>, bool) {
    let (mut pages, mut offset) = (Vec::new(), "-1".to_owned());
    loop {
        let answer = server.get(&format!("{name}?offset={offset}")).send().expect(200);
        offset = answer.next_offset();
        pages.push(answer.body.clone());
        if answer.header("stream-up-to-date").is_some() {
            return (pages, answer.header("stream-closed").is_some());
        }
    }
}

pub(super) fn bytes(server: &Server, name: &str) -> Vec<u8> {
    read_pages(server, name).0.concat()
}

pub(super) fn messages(server: &Server, name: &str) -> Vec<Value> {
    let pages = read_pages(server, name).0;
    pages
        .iter()
        .flat_map(|page| serde_json::from_slice::<Vec<Value>>(page).unwrap())
        .collect()
}

const UNUSUAL_NAMES: [&str; 5] = ["gid://app/Room/1", "100% \"sure\"", "ümläut/日本語", "a\\b", "//"];

/// Creates 13 streams of every kind; returns the messages of the stream `many`.
fn fill(server: &Server) -> Vec<Value> {
    for name in UNUSUAL_NAMES {
        let body = json!([name, null, [1, [2]], {"n": 1.5e300}, "\u{2028}\n\u{0}"]).to_string();
        server.put(&escape(name)).json(&body).send().expect(201);
        server.post(&escape(name)).json("[[[]]]").send().expect(204);
    }
    server
        .put("text")
        .text("a\r\nü\u{0}")
        .header("stream-ttl", "3600")
        .send()
        .expect(201);
    server
        .put("latin1")
        .header("content-type", "text/plain; charset=latin1")
        .body([b'a', 0xfc])
        .send()
        .expect(201);
    server.put("long").text(&"日本語".repeat(200_000)).send().expect(201);
    server
        .put("noise")
        .body(noise())
        .header("stream-closed", "true")
        .send()
        .expect(201);
    let kept = server.put("kept").text(&"x".repeat(100));
    kept.header("stream-retention-bytes", "10").send().expect(201);
    server.post("kept").text("0123456789").send().expect(204);
    let at = "2099-01-01T00:00:00.000Z";
    server.put("empty").header("stream-expires-at", at).send().expect(201);
    server
        .put("no-messages")
        .json("[]")
        .header("stream-closed", "true")
        .send()
        .expect(201);
    let many: Vec<Value> = (0..30_000)
        .map(|index| json!({"index": index, "text": "x".repeat(40)}))
        .collect();
    server.put("many").json(&json!(many).to_string()).send().expect(201);
    many
}

#[test]
fn export_and_import_preserve_streams_across_modes() {
    let server = unlimited(Setup::new()).acid().gated().start();
    let many = fill(&server);
    let shell = Shell::to(&server).by(&server.server_token());
    let exported = shell.ok(&["export"]);
    for line in exported.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap().is_object(), "{line}");
    }
    let file = shell.file("all.jsonl");
    let out = shell.ok(&["export", "--output", file.to_str().unwrap()]);
    assert!(out.contains("13 streams exported"), "{out}");
    // Exports differ only in their id.
    assert_eq!(fs::read_to_string(&file).unwrap().len(), exported.len());

    for target in [
        unlimited(Setup::new()),
        unlimited(Setup::new()).acid().with("storage.mode", "file-durable"),
    ] {
        let target = target.start();
        let shell = Shell::to(&target);
        let out = shell.ok(&["import", file.to_str().unwrap()]);
        assert!(out.contains("13 streams imported"), "{out}");
        for name in UNUSUAL_NAMES {
            assert_eq!(
                messages(&target, &escape(name)),
                messages(&server, &escape(name)),
                "{name}"
            );
            assert_eq!(bytes(&target, &escape(name)), bytes(&server, &escape(name)), "{name}");
        }
        assert_eq!(messages(&target, "many"), many);
        for name in ["text", "latin1", "long", "noise", "empty", "no-messages"] {
            assert_eq!(read_pages(&target, name).1, read_pages(&server, name).1, "{name}");
            assert_eq!(bytes(&target, name), bytes(&server, name), "{name}");
            let (there, here) = (target.head(name).send(), server.head(name).send());
            for header in [
                "content-type",
                "stream-next-offset",
                "stream-ttl",
                "stream-expires-at",
                "stream-closed",
            ] {
                assert_eq!(there.header(header), here.header(header), "{name} {header}");
            }
        }
        // Trimmed content is not exported, and the retention is preserved.
        assert_eq!(bytes(&target, "kept"), bytes(&server, "kept"));
        assert_eq!(target.head("kept").send().header("stream-retention-bytes"), Some("10"));
    }
}

#[test]
fn offsets_and_appends_survive_export_and_import() {
    let server = unlimited(Setup::new()).acid().start();
    let mut offsets = vec![server.text_stream("s", "one")];
    for append in ["two", "three"] {
        offsets.push(server.post("s").text(append).send().expect(204).next_offset());
    }
    let fork = server.fork("fork", "s").header("stream-fork-offset", &offsets[1]);
    fork.send().expect(201);
    server.post("fork").text("four").send().expect(204);
    let fork = server.fork("bare", "s").header("stream-fork-offset", &offsets[1]);
    fork.send().expect(201);
    server.put("json").json("[1,2]").send().expect(201);
    server.post("json").json("3").send().expect(204);
    let kept = server.put("kept").header("stream-retention-bytes", "20").text("");
    kept.send().expect(201);
    for number in 0..30 {
        server.post("kept").text(&number.to_string()).send().expect(204);
    }
    let shell = Shell::to(&server);
    let file = shell.file("all.jsonl");
    shell.ok(&["export", "--output", file.to_str().unwrap()]);
    // Appends after the export are not imported.
    let late = server.post("s").text("late").send().expect(204).next_offset();

    for target in [unlimited(Setup::new()), unlimited(Setup::new()).acid()] {
        let target = target.start();
        let shell = Shell::to(&target);
        shell.ok(&["import", file.to_str().unwrap()]);
        let same = |name: &str, offset: &str| {
            let [there, here] = [&target, &server].map(|server| {
                let answer = server.get(&format!("{name}?live=long-poll&offset={offset}"));
                let answer = answer.send().expect(200);
                (answer.text(), answer.next_offset())
            });
            assert_eq!(there, here, "{name} from {offset}");
        };
        for (name, offset) in [("fork", &offsets[0]), ("fork", &offsets[1]), ("bare", &offsets[0])] {
            same(name, offset);
        }
        same("json", "-1");
        let earliest = |server: &Server| {
            let head = server.head("kept").send();
            head.header("stream-earliest-offset").unwrap().to_owned()
        };
        assert_eq!(earliest(&target), earliest(&server));
        same("kept", &earliest(&server));
        for (offset, content) in offsets.iter().zip(["twothree", "three", ""]) {
            assert_eq!(target.content(&format!("s?offset={offset}")), content);
        }
        // Append boundaries are preserved.
        let sub = |sub: &str| {
            let fork = target.fork("f", "s").header("stream-fork-offset", "-1");
            fork.header("stream-fork-sub-offset", sub).send().status
        };
        assert_eq!((sub("4"), sub("2")), (400, 201));
        // Later appends belong to a new incarnation.
        let next = target.post("s").text("other").send().expect(204).next_offset();
        assert!(next > offsets[2] && next != late);
        target.get(&format!("s?offset={late}")).send().problem(410);
        assert_eq!(target.content(&format!("s?offset={}", offsets[2])), "other");
        // A repeated PUT matches only the same lineage.
        let put = |lives: &str| target.put("s").text("").header("stream-lives", lives).send().status;
        assert_eq!((put(&offsets[2]), put(&offsets[1])), (200, 409));
    }
}

#[test]
fn a_long_running_server_imports_streams_created_later_elsewhere() {
    let target = Setup::new().start();
    target.text_stream("first", "");
    let server = Setup::new().start();
    let tail = server.text_stream("s", "content");
    let shell = Shell::to(&server);
    let file = shell.file("s.jsonl");
    shell.ok(&["export", "--output", file.to_str().unwrap()]);
    Shell::to(&target).ok(&["import", file.to_str().unwrap()]);
    assert_eq!(target.head("s").send().next_offset(), tail);
    let next = target.post("s").text("!").send().expect(204).next_offset();
    assert!(next > tail);
}

#[test]
fn an_invalid_stream_lives_is_refused() {
    let server = Setup::new().start();
    let (one, two) = ("0000000000000007_0000000000000100", "0000000000000009_0000000000000200");
    let both = format!("{one},{two}");
    let create = |headers: &[(&str, &str)]| {
        let put = server.put("s").text("");
        headers
            .iter()
            .fold(put, |put, (name, value)| put.header(name, value))
            .send()
    };
    for (headers, named) in [
        (vec![("stream-lives", "x")], "Stream-Lives"),
        (vec![("stream-lives", "")], "Stream-Lives"),
        (vec![("stream-lives", &format!("{two},{one}"))], "Stream-Lives"),
        (vec![("stream-lives", &format!("{one},{one}"))], "Stream-Lives"),
        (
            vec![("stream-lives", "9999999999999999_0000000000000000")],
            "Stream-Lives",
        ),
        (vec![("stream-lives", &[one; 300].join(","))], "Stream-Lives"),
        (vec![("stream-earliest-offset", one)], "Stream-Earliest-Offset"),
        (
            vec![("stream-lives", one), ("stream-earliest-offset", two)],
            "Stream-Earliest-Offset",
        ),
        (
            vec![
                ("stream-lives", &both),
                ("stream-earliest-offset", "0000000000000009_0000000000000100"),
            ],
            "Stream-Earliest-Offset",
        ),
        (
            vec![("stream-lives", one), ("stream-forked-from", "/v1/stream/source")],
            "Stream-Lives",
        ),
    ] {
        let detail = create(&headers).problem(400);
        assert!(detail.starts_with(&format!("{named}: ")), "{headers:?}: {detail}");
        server.get("s").send().expect(404);
    }
    let begin = "0000000000000009_0000000000000150";
    let created = create(&[("stream-lives", &both), ("stream-earliest-offset", begin)]).expect(201);
    assert_eq!(created.next_offset(), begin);
    assert_eq!(server.head("s").send().header("stream-lives"), Some(both.as_str()));
    server.get(&format!("s?offset={one}")).send().problem(410);
}

#[test]
fn an_export_has_the_requested_streams_and_names_missing_ones() {
    let server = Setup::new().start();
    for name in ["a/1", "a/2", "b"] {
        server.text_stream(name, name);
    }
    let shell = Shell::to(&server);
    let streams = |arguments: &[&str]| {
        let out = shell.ok(&[&["export"], arguments].concat());
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let headers = lines
            .iter()
            .filter_map(|line| Some(line.get("stream")?.as_str()?.to_owned()));
        headers.collect::<Vec<_>>()
    };
    assert_eq!(streams(&["b", "a/1"]), ["b", "a/1"]);
    assert_eq!(streams(&["--prefix", "a/"]), ["a/1", "a/2"]);
    assert_eq!(streams(&["--prefix", "none"]), Vec::<String>::new());
    assert_eq!(shell.run(&["export", "b", "--prefix", "a/"]).0, 2);

    let out = shell.ok(&["export", "b"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["content_type"], "text/plain");
    assert_eq!(lines[0]["offset"], server.head("b").send().next_offset());
    assert_eq!(
        lines[1..],
        [json!({"text": "b"}), json!({"end": true, "bytes": 1, "closed": false})]
    );

    // A failed export leaves the earlier file and no partial one.
    let file = shell.file("out.jsonl");
    fs::write(&file, "earlier").unwrap();
    let error = shell.fails(&["export", "b", "nope", "--output", file.to_str().unwrap()]);
    assert!(error.contains("there is no stream \"nope\""), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "earlier");
    assert!(!shell.file("out.jsonl.part").exists());
}
