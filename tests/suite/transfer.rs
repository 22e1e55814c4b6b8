//! `export` and `import`.

use std::{fs, io::Write as _};

use serde_json::{Value, json};

use super::{
    streams_cli::Shell,
    support::{
        http::escape,
        server::{Server, Setup},
        until,
    },
};

/// A few megabytes that are no text.
fn noise() -> Vec<u8> {
    (0..2_500_000u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

fn generous(setup: Setup) -> Setup {
    setup
        .with("limits.max_stream_bytes", 0)
        .with("limits.max_memory_bytes", 0)
}

/// All bytes of a stream as its readers get them, page by page: of JSON each page an array.
fn everything(server: &Server, name: &str) -> (Vec<Vec<u8>>, bool) {
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

fn bytes(server: &Server, name: &str) -> Vec<u8> {
    everything(server, name).0.concat()
}

fn messages(server: &Server, name: &str) -> Vec<Value> {
    let pages = everything(server, name).0;
    pages
        .iter()
        .flat_map(|page| serde_json::from_slice::<Vec<Value>>(page).unwrap())
        .collect()
}

#[test]
fn what_is_exported_is_imported_the_same_by_another_kind_of_store() {
    let server = generous(Setup::new()).acid().gated().start();
    let hostile = ["gid://app/Room/1", "100% \"sure\"", "ümläut/日本語", "a\\b", "//"];
    for name in hostile {
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

    let shell = Shell::to(&server).by(&server.server_token());
    let exported = shell.ok(&["export"]);
    for line in exported.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap().is_object(), "{line}");
    }
    let file = shell.file("all.jsonl");
    let out = shell.ok(&["export", "--output", file.to_str().unwrap()]);
    assert!(out.contains("13 streams exported"), "{out}");
    // But for its own name each export is the same.
    assert_eq!(fs::read_to_string(&file).unwrap().len(), exported.len());

    for target in [
        generous(Setup::new()),
        generous(Setup::new()).acid().with("storage.mode", "file-durable"),
    ] {
        let target = target.start();
        let shell = Shell::to(&target);
        let out = shell.ok(&["import", file.to_str().unwrap()]);
        assert!(out.contains("13 streams imported"), "{out}");
        for name in hostile {
            assert_eq!(
                messages(&target, &escape(name)),
                messages(&server, &escape(name)),
                "{name}"
            );
            assert_eq!(bytes(&target, &escape(name)), bytes(&server, &escape(name)), "{name}");
        }
        assert_eq!(messages(&target, "many"), many);
        for name in ["text", "latin1", "long", "noise", "empty", "no-messages"] {
            assert_eq!(everything(&target, name).1, everything(&server, name).1, "{name}");
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
        // What was given up is not there, and what is kept is kept in the same way.
        assert_eq!(bytes(&target, "kept"), bytes(&server, "kept"));
        assert_eq!(target.head("kept").send().header("stream-retention-bytes"), Some("10"));
    }
}

#[test]
fn an_export_is_of_what_was_asked_for_and_names_what_is_missing() {
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

    // A failed export leaves an earlier one alone, and nothing half done.
    let file = shell.file("out.jsonl");
    fs::write(&file, "earlier").unwrap();
    let error = shell.fails(&["export", "b", "nope", "--output", file.to_str().unwrap()]);
    assert!(error.contains("there is no stream \"nope\""), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "earlier");
    assert!(!shell.file("out.jsonl.part").exists());
}

/// Exports of a server that is gone by now: a large stream of messages, and a small one behind it.
fn large_export() -> (String, Vec<Value>) {
    let server = generous(Setup::new()).start();
    let many: Vec<Value> = (0..40_000)
        .map(|index| json!({"index": index, "text": "x".repeat(60)}))
        .collect();
    server
        .put("many")
        .json(&json!(many).to_string())
        .header("stream-closed", "true")
        .send()
        .expect(201);
    server.text_stream("small", "abc");
    (Shell::to(&server).ok(&["export"]), many)
}

#[test]
fn an_import_that_was_killed_is_continued_without_repeating_anything() {
    let (exported, many) = large_export();
    let server = generous(Setup::new()).acid().start();
    let shell = Shell::to(&server);
    // Part of it comes in, and then no more: the importer waits, until it is killed.
    let mut killed = shell.spawn(&["import"]);
    let mut input = killed.stdin.take().unwrap();
    let (part, _) = exported.split_at(exported.len() / 2);
    input.write_all(part.as_bytes()).unwrap();
    until("some of it to be there", || {
        server
            .head("many")
            .send()
            .header("stream-next-offset")
            .is_some_and(|offset| !offset.ends_with("_0000000000000000"))
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let there = messages(&server, "many");
    assert!(!there.is_empty() && there.len() < many.len() && many.starts_with(&there));

    let file = shell.file("export.jsonl");
    fs::write(&file, &exported).unwrap();
    let file = file.to_str().unwrap();
    let out = shell.ok(&["import", file]);
    assert!(
        out.contains("imported the rest of many") && out.contains("imported small"),
        "{out}"
    );
    assert_eq!(messages(&server, "many"), many);
    assert!(everything(&server, "many").1, "it was closed");

    // What is complete is left alone, also when an application has gone on from there.
    server.post("small").text("d").send().expect(204);
    let out = shell.ok(&["import", file]);
    assert!(
        out.contains("was there already: many") && out.contains("was there already: small"),
        "{out}"
    );
    assert_eq!(messages(&server, "many").len(), many.len());
    assert_eq!(bytes(&server, "small"), b"abcd");
}

#[test]
fn an_import_goes_on_over_a_server_that_was_killed() {
    let (exported, many) = large_export();
    let setup = generous(Setup::new()).acid();
    let server = setup.start();
    let shell = Shell::to(&server);
    let mut cut = shell.spawn(&["import"]);
    let mut input = cut.stdin.take().unwrap();
    let (part, rest) = exported.split_at(exported.len() / 2);
    input.write_all(part.as_bytes()).unwrap();
    until("some of it to be there", || !messages(&server, "many").is_empty());
    server.kill();
    // It may have ended by itself already.
    let _ = input.write_all(rest.as_bytes());
    drop(input);
    assert_eq!(cut.wait().unwrap().code(), Some(1));
    let server = setup.start();
    let shell = Shell::to(&server);
    let file = shell.file("export.jsonl");
    fs::write(&file, &exported).unwrap();
    shell.ok(&["import", file.to_str().unwrap()]);
    assert_eq!(messages(&server, "many"), many);
}

#[test]
fn what_is_there_and_from_elsewhere_is_refused_unless_it_is_to_be_replaced() {
    let (exported, many) = large_export();
    let server = generous(Setup::new()).start();
    let shell = Shell::to(&server);
    let file = shell.file("export.jsonl");
    fs::write(&file, &exported).unwrap();
    let import = ["import", file.to_str().unwrap()];
    // With content, closed, of another type, with another lifetime.
    let others: [(&str, &[(&str, &str)]); 4] = [
        ("application/json", &[]),
        ("application/json", &[("stream-closed", "true")]),
        ("text/plain", &[]),
        ("application/json", &[("stream-ttl", "60")]),
    ];
    for (content_type, headers) in others {
        let put = server.put("many").header("content-type", content_type).body("7");
        headers
            .iter()
            .fold(put, |put, (name, value)| put.header(name, value))
            .send()
            .expect(201);
        let error = shell.fails(&import);
        assert!(
            error.contains("\"many\" is there already") && error.contains("--replace"),
            "{error}"
        );
        assert!(bytes(&server, "many").len() <= 3, "it was written to");
        server.delete("many").send().expect(204);
    }
    server.text_stream("small", "other");
    shell.fails(&import);
    assert_eq!(bytes(&server, "small"), b"other");
    let out = shell.ok(&[&import[..], &["--replace"]].concat());
    assert!(out.contains("2 streams imported"), "{out}");
    assert_eq!(messages(&server, "many"), many);
    assert_eq!(bytes(&server, "small"), b"abc");
    // An empty stream as described is as good as none.
    server.delete("small").send().expect(204);
    server.text_stream("small", "");
    shell.ok(&import);
    assert_eq!(bytes(&server, "small"), b"abc");
}

#[test]
fn a_file_that_is_cut_off_or_damaged_changes_nothing_and_says_where() {
    let server = Setup::new().start();
    let shell = Shell::to(&server);
    let header = |name: &str| format!("{{\"stream\":\"{name}\",\"content_type\":\"application/json\"}}\n");
    let whole = format!(
        "{}{{\"json\":1}}\n{{\"end\":true,\"messages\":1,\"closed\":false}}\n",
        header("a")
    );
    server.put("a").json("[7]").send().expect(201);
    for (text, complaint) in [
        (
            format!("{whole}{}{{\"json\":1}}\n", header("b")),
            "line 6: the input ends within the stream \"b\"",
        ),
        (
            format!("{whole}{}{{\"js", header("b")),
            "line 5: the input ends within this line",
        ),
        (
            format!("{whole}{}{{\"text\":\"x\"}}\n", header("b")),
            "line 5: expected {\"json\":...}",
        ),
        (
            format!("{whole}nonsense\n"),
            "line 4: is no JSON object; expected the first line of a stream",
        ),
        (
            whole.replace("\"messages\":1", "\"messages\":2"),
            "line 3: says that the stream has 2 messages",
        ),
        (String::new(), "is empty"),
    ] {
        let file = shell.file("damaged.jsonl");
        fs::write(&file, &text).unwrap();
        let error = shell.fails(&["import", file.to_str().unwrap(), "--replace"]);
        assert!(error.contains(complaint) && error.contains("damaged.jsonl"), "{error}");
        assert_eq!(messages(&server, "a"), [json!(7)]);
        assert_eq!(server.metric("ds_streams"), 1.0);
    }
    let error = shell.fails(&["import", "nowhere.jsonl"]);
    assert!(error.contains("nowhere.jsonl"), "{error}");
    let error = shell.fails(&["import", "/"]);
    assert!(error.contains("directory"), "{error}");
}

#[test]
fn only_what_is_wanted_is_imported_and_what_is_over_is_passed_over() {
    let server = Setup::new().start();
    let shell = Shell::to(&server);
    let stream = |name: &str, more: &str| {
        format!(
            "{{\"stream\":\"{name}\",\"content_type\":\"text/plain\"{more}}}\n{{\"text\":\"{name}\"}}\n{{\"end\":true,\"bytes\":1}}\n"
        )
    };
    let over = stream("o", ",\"expires_at\":\"2020-01-01T00:00:00Z\"");
    let file = shell.file("export.jsonl");
    fs::write(
        &file,
        format!("{}{}{}{over}", stream("a", ""), stream("b", ""), stream("c", "")),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    shell.ok(&["import", file, "--only", "a", "c"]);
    assert_eq!(
        (bytes(&server, "a"), bytes(&server, "c")),
        (b"a".to_vec(), b"c".to_vec())
    );
    server.get("b").send().problem(404);
    let error = shell.fails(&["import", file, "--only", "b", "nope"]);
    assert!(error.contains("\"nope\" is not in"), "{error}");
    assert_eq!(bytes(&server, "b"), b"b");
    let out = shell.ok(&["import", file]);
    assert!(
        out.contains("its time was over before: o") && out.contains("3 streams imported"),
        "{out}"
    );
    server.get("o").send().problem(404);
}

#[test]
fn an_import_without_leave_or_room_says_so() {
    let (exported, _) = large_export();
    let server = Setup::new().gated().with("limits.max_stream_bytes", 1000).start();
    let shell = Shell::to(&server);
    let file = shell.file("export.jsonl");
    fs::write(&file, &exported).unwrap();
    let file = file.to_str().unwrap();
    assert!(shell.fails(&["import", file]).contains("401"));
    let client = Shell::to(&server).by(&server.client_token("many", &["read", "write"]));
    assert!(client.fails(&["import", file]).contains("create needs a server token"));
    let error = Shell::to(&server).by(&server.server_token()).fails(&["import", file]);
    assert!(error.contains("413") && error.contains("1000 bytes"), "{error}");
}
