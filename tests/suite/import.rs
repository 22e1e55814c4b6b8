//! `import`: resuming, conflicts, damage and selection.

use std::{fs, io::Write as _};

use serde_json::{Value, json};

use super::{
    streams_cli::Shell,
    support::{server::Setup, until},
    transfer::{bytes, messages, read_pages, unlimited},
};

/// Exports of a stopped server: a large JSON stream, then a small one.
fn large_export() -> (String, Vec<Value>) {
    let server = unlimited(Setup::new()).start();
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
fn a_killed_import_resumes_without_duplicates() {
    let (exported, many) = large_export();
    let server = unlimited(Setup::new()).acid().start();
    let shell = Shell::to(&server);
    // Send a part and stop: the importer waits until it is killed.
    let mut killed = shell.spawn(&["import"]);
    let mut input = killed.stdin.take().unwrap();
    let (part, _) = exported.split_at(exported.len() / 2);
    input.write_all(part.as_bytes()).unwrap();
    until("a part to be imported", || {
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
    assert!(read_pages(&server, "many").1, "not closed");

    // A complete stream is left alone even after further appends.
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
fn an_import_survives_a_killed_server() {
    let (exported, many) = large_export();
    let setup = unlimited(Setup::new()).acid();
    let server = setup.start();
    let shell = Shell::to(&server);
    let mut cut = shell.spawn(&["import"]);
    let mut input = cut.stdin.take().unwrap();
    let (part, rest) = exported.split_at(exported.len() / 2);
    input.write_all(part.as_bytes()).unwrap();
    until("a part to be imported", || !messages(&server, "many").is_empty());
    server.kill();
    // It may have exited already.
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
fn an_unrelated_existing_stream_needs_replace() {
    let (exported, many) = large_export();
    let server = unlimited(Setup::new()).start();
    let shell = Shell::to(&server);
    let file = shell.file("export.jsonl");
    fs::write(&file, &exported).unwrap();
    let import = ["import", file.to_str().unwrap()];
    // Streams with content, closed, of another type, or with another lifetime.
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
        assert!(bytes(&server, "many").len() <= 3, "unexpected content");
        server.delete("many").send().expect(204);
    }
    server.text_stream("small", "other");
    shell.fails(&import);
    assert_eq!(bytes(&server, "small"), b"other");
    let out = shell.ok(&[&import[..], &["--replace"]].concat());
    assert!(out.contains("2 streams imported"), "{out}");
    assert_eq!(messages(&server, "many"), many);
    assert_eq!(bytes(&server, "small"), b"abc");
    // An empty stream with the same properties does not conflict.
    server.delete("small").send().expect(204);
    server.text_stream("small", "");
    shell.ok(&import);
    assert_eq!(bytes(&server, "small"), b"abc");
}

#[test]
fn a_truncated_or_damaged_file_changes_nothing_and_the_line_is_named() {
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
fn an_import_without_permission_or_space_fails_clearly() {
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
