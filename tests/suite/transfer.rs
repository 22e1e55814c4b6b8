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
fn offsets_and_appends_outlive_an_export() {
    let server = generous(Setup::new()).acid().start();
    let mut offsets = vec![server.text_stream("s", "one")];
    for append in ["two", "", "three"].into_iter().filter(|append| !append.is_empty()) {
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

    for target in [generous(Setup::new()), generous(Setup::new()).acid()] {
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
        let earliest = server.head("kept").send();
        let earliest = earliest.header("stream-earliest-offset").unwrap();
        assert_eq!(
            target.head("kept").send().header("stream-earliest-offset"),
            Some(earliest)
        );
        same("kept", earliest);
        for (offset, content) in offsets.iter().zip(["twothree", "three", ""]) {
            assert_eq!(target.content(&format!("s?offset={offset}")), content);
        }
        // Appends are the same ones.
        let sub = |sub: &str| {
            let fork = target.fork("f", "s").header("stream-fork-offset", "-1");
            fork.header("stream-fork-sub-offset", sub).send().status
        };
        assert_eq!((sub("4"), sub("2")), (400, 201));
        // The import goes on in a life of its own.
        let next = target.post("s").text("other").send().expect(204).next_offset();
        assert!(next > offsets[2] && next != late);
        target.get(&format!("s?offset={late}")).send().problem(410);
        assert_eq!(target.content(&format!("s?offset={}", offsets[2])), "other");
        // It is found again as it is, and not with another past.
        let put = |lives: &str| target.put("s").text("").header("stream-lives", lives).send().status;
        assert_eq!((put(&offsets[2]), put(&offsets[1])), (200, 409));
    }
}

#[test]
fn a_server_that_runs_for_long_takes_what_another_has_created_since() {
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
fn a_past_that_cannot_be_is_refused() {
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
        out.contains("already present: many") && out.contains("already present: small"),
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
fn an_existing_foreign_stream_is_refused_without_replace() {
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
            error.contains("\"many\" already exists") && error.contains("--replace"),
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
fn a_truncated_or_damaged_file_changes_nothing_and_the_fault_is_located() {
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
            "line 4: is not a JSON object; expected the first line of a stream",
        ),
        (
            whole.replace("\"messages\":1", "\"messages\":2"),
            "line 3: counts 2 messages",
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
fn only_selected_streams_are_imported_and_expired_ones_are_skipped() {
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
        out.contains("already expired: o") && out.contains("3 streams imported"),
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
