//! Retention: readers learn what was trimmed, and space is reclaimed.

use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::support::{
    at_position,
    http::Answer,
    live::Sse,
    server::{Server, Setup},
    until,
};

fn modes() -> [Setup; 3] {
    [
        Setup::new(),
        Setup::new().acid(),
        Setup::new().acid().with("storage.mode", "file-durable"),
    ]
}

/// Creates the JSON stream `s` with a retention.
#[track_caller]
fn create(server: &Server, header: &str, limit: &str) {
    server.put("s").json("").header(header, limit).send().expect(201);
}

/// Appends one message; returns the offset after it.
fn append(server: &Server, name: &str, n: usize, padding: usize) -> String {
    let message = serde_json::json!({ "n": n, "padding": "x".repeat(padding) });
    server
        .post(name)
        .json(&message.to_string())
        .send()
        .expect(204)
        .next_offset()
}

/// The numbers of the messages after an offset.
fn numbers(server: &Server, name: &str, offset: &str) -> Vec<u64> {
    let (mut numbers, mut offset) = (Vec::new(), offset.to_owned());
    loop {
        let answer = server.get(&format!("{name}?offset={offset}")).send().expect(200);
        let messages: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
        numbers.extend(messages.iter().map(|message| message["n"].as_u64().unwrap()));
        offset = answer.next_offset();
        if answer.header("stream-up-to-date").is_some() {
            return numbers;
        }
    }
}

fn assert_trimmed(answer: &Answer) -> String {
    assert!(
        answer.problem(410).contains("removed by retention"),
        "{}",
        answer.text()
    );
    answer.header("stream-earliest-offset").unwrap().to_owned()
}

#[test]
fn size_retention_bounds_a_stream() {
    for setup in modes() {
        let server = setup.start();
        let put = || server.put("s").json("").header("stream-retention-bytes", "100000");
        put().send().expect(201);
        let mut offsets = vec![server.head("s").send().expect(200).next_offset()];
        for n in 0..100 {
            offsets.push(append(&server, "s", n, 5_000));
        }
        let kept = numbers(&server, "s", "-1");
        let first = *kept.first().unwrap();
        assert_eq!(kept, (first..100).collect::<Vec<_>>(), "a gap");
        assert!((15..=20).contains(&kept.len()), "{}", kept.len());
        // Reads of trimmed content get 410 and the offset to resume from.
        let earliest = assert_trimmed(&server.get(&format!("s?offset={}", offsets[3])).send());
        assert_trimmed(&server.get(&format!("s?offset={}", offsets[0])).send());
        assert_trimmed(&server.get(&format!("s?live=long-poll&offset={}", offsets[3])).send());
        assert_trimmed(&server.get(&format!("s?live=sse&offset={}", offsets[3])).send());
        assert_eq!(numbers(&server, "s", &earliest), kept);
        let head = server.head("s").send().expect(200);
        assert_eq!(head.header("stream-earliest-offset"), Some(earliest.as_str()));
        assert_eq!(head.header("stream-retention-bytes"), Some("100000"));
        assert_eq!(head.next_offset(), offsets[100]);
        // A repeated PUT succeeds with the same retention or none, and conflicts with another.
        put().send().expect(200);
        server.put("s").json("").send().expect(200);
        assert_eq!(server.head("s").send().header("stream-retention-bytes"), Some("100000"));
        server
            .put("s")
            .json("")
            .header("stream-retention-bytes", "5")
            .send()
            .problem(409);
        assert!(server.metric("ds_stored_bytes") < 110_000.0);
    }
}

#[test]
fn trimmed_content_stays_trimmed_after_a_restart() {
    for setup in modes().into_iter().skip(1) {
        let server = setup.start();
        create(&server, "stream-retention-bytes", "100000");
        let first = append(&server, "s", 0, 5_000);
        for n in 1..60 {
            append(&server, "s", n, 5_000);
        }
        let kept = numbers(&server, "s", "-1");
        server.kill();
        let server = setup.start();
        assert_eq!(numbers(&server, "s", "-1"), kept);
        assert_trimmed(&server.get(&format!("s?offset={first}")).send());
        for n in 60..120 {
            append(&server, "s", n, 5_000);
        }
        let kept = numbers(&server, "s", "-1");
        assert_eq!(kept.last(), Some(&119));
        assert!(kept.len() <= 20);
        server.stop();
        let server = setup.start();
        assert_eq!(numbers(&server, "s", "-1"), kept);
    }
}

#[test]
fn age_retention_trims_without_any_request() {
    for setup in modes() {
        let server = setup.start();
        create(&server, "stream-retention-age", "1");
        let behind = append(&server, "s", 0, 10);
        let tail = append(&server, "s", 1, 10);
        until("both to be given up", || server.metric("ds_stored_bytes") == 0.0);
        assert_trimmed(&server.get(&format!("s?offset={behind}")).send());
        let head = server.head("s").send().expect(200);
        assert_eq!(head.header("stream-earliest-offset"), Some(tail.as_str()));
        assert_eq!(head.header("stream-retention-age"), Some("1"));
        // The stream still exists and accepts appends.
        assert_eq!(server.content("s"), "[]");
        append(&server, "s", 2, 10);
        assert_eq!(numbers(&server, "s", "-1"), [2]);
        assert_eq!(numbers(&server, "s", &tail), [2]);
    }
}

#[test]
fn a_live_reader_misses_nothing_and_a_trimmed_one_gets_410() {
    let server = Setup::new().acid().start();
    create(&server, "stream-retention-bytes", "20000");
    let start = append(&server, "s", 0, 10);
    let mut edge = server.sse("s", &start);
    for n in 1..50 {
        append(&server, "s", n, 2_000);
        let messages: Vec<Value> = serde_json::from_str(&edge.data()).unwrap();
        assert_eq!(messages[0]["n"], n);
    }
    assert_trimmed(&server.get(&format!("s?live=sse&offset={start}")).send());
    let from_now: Sse = server.sse("s", "now");
    drop(from_now);
}

#[test]
fn rules_apply_to_matching_names_including_existing_streams() {
    let rules = r#"[{ streams = "logs/*", max_bytes = 20000 }, { streams = "*", max_age_secs = 1 }]"#;
    let setup = Setup::new().acid();
    let server = setup.start();
    for name in ["logs/a", "other", "own"] {
        let put = server.put(name).json("");
        let put = if name == "own" {
            put.header("stream-retention-age", "86400")
        } else {
            put
        };
        put.send().expect(201);
        for n in 0..30 {
            append(&server, name, n, 2_000);
        }
    }
    server.stop();
    let server = setup.with("retention.rules", rules).start();
    until("the rule to apply to existing streams", || {
        numbers(&server, "other", "-1").is_empty() && numbers(&server, "logs/a", "-1").len() <= 10
    });
    assert_eq!(numbers(&server, "own", "-1").len(), 30, "its own retention comes first");
    for n in 30..60 {
        append(&server, "logs/a", n, 2_000);
        assert!(numbers(&server, "logs/a", "-1").len() <= 10);
    }
    let head = server.head("logs/a").send().expect(200);
    assert_eq!(head.header("stream-retention-bytes"), Some("20000"));
    assert_eq!(head.header("stream-retention-age"), None, "the first rule that matches");
}

#[test]
fn a_fork_keeps_inherited_content() {
    for setup in modes() {
        let server = setup.start();
        create(&server, "stream-retention-bytes", "20000");
        for n in 0..5 {
            append(&server, "s", n, 2_000);
        }
        server
            .fork("f", "s")
            .header("stream-retention-bytes", "9000000")
            .send()
            .expect(201);
        for n in 5..50 {
            append(&server, "s", n, 2_000);
        }
        assert!(numbers(&server, "s", "-1").len() <= 10);
        assert_eq!(numbers(&server, "f", "-1"), [0, 1, 2, 3, 4]);
        append(&server, "f", 100, 10);
        assert_eq!(numbers(&server, "f", "-1"), [0, 1, 2, 3, 4, 100]);
        // A fork at a trimmed position keeps the content it forked from.
        let kept = numbers(&server, "s", "-1");
        server.fork("g", "s").send().expect(201);
        assert_eq!(numbers(&server, "g", "-1"), kept);
        for n in 50..80 {
            append(&server, "s", n, 2_000);
            append(&server, "g", n, 2_000);
        }
        assert_eq!(numbers(&server, "s", "-1"), numbers(&server, "g", "-1"));
        for name in ["f", "g"] {
            server.delete(name).send().expect(204);
        }
        append(&server, "s", 80, 2_000);
        until("data read only by forks to be removed", || {
            server.metric("ds_stored_bytes") < 21_000.0
        });
        // Forks before the earliest offset are refused.
        let gone = at_position(&server.head("s").send().next_offset(), 10);
        server
            .fork("h", "s")
            .header("stream-fork-offset", &gone)
            .send()
            .problem(400);
        server
            .fork("h", "s")
            .header("stream-fork-offset", "-1")
            .send()
            .expect(201);
        assert_eq!(server.content("h"), "[]");
    }
}

#[test]
fn text_is_cut_between_characters_and_bytes_anywhere() {
    let server = Setup::new().acid().start();
    for (name, content_type) in [("text", "text/plain"), ("bytes", "application/octet-stream")] {
        let put = server.put(name).header("content-type", content_type);
        put.header("stream-retention-bytes", "1000").send().expect(201);
        for _ in 0..100 {
            let post = server.post(name).header("content-type", content_type);
            post.body("äöü€x".repeat(3).into_bytes()).send().expect(204);
        }
        let kept = server.get(name).send().expect(200).body;
        assert!((900..=1000).contains(&kept.len()), "{}", kept.len());
        if name == "text" {
            String::from_utf8(kept).unwrap();
        }
    }
}

#[test]
fn one_message_larger_than_the_limit_is_kept_until_the_next() {
    let server = Setup::new().start();
    create(&server, "stream-retention-bytes", "100");
    append(&server, "s", 0, 10);
    append(&server, "s", 1, 5_000);
    assert_eq!(numbers(&server, "s", "-1"), [1]);
    append(&server, "s", 2, 10);
    assert_eq!(numbers(&server, "s", "-1"), [2]);
}

#[test]
fn max_stream_bytes_counts_retained_content_only() {
    let server = Setup::new().with("limits.max_stream_bytes", 50_000).start();
    create(&server, "stream-retention-bytes", "20000");
    for n in 0..100 {
        append(&server, "s", n, 2_000);
    }
}

#[test]
fn a_stream_whose_retention_equals_the_limit_accepts_appends() {
    let server = Setup::new().acid().with("limits.max_stream_bytes", 50_000).start();
    let put = server.put("s").json("").header("stream-retention-bytes", "50000");
    put.send().expect(201);
    for n in 0..100 {
        append(&server, "s", n, 2_000);
    }
    // A body larger than the limit is refused whatever the retention.
    let large = serde_json::json!("x".repeat(50_000)).to_string();
    server.post("s").json(&large).send().problem(413);
    assert_eq!(numbers(&server, "s", "-1").last(), Some(&99));
}

#[test]
fn a_stricter_rule_applies_from_the_next_start() {
    let setup = Setup::new().acid();
    let year = r#"[{ streams = "*", max_age_secs = 31536000, max_bytes = 1000000 }]"#;
    let server = setup.clone().with("retention.rules", year).start();
    for name in ["age", "size"] {
        server.put(name).json("").send().expect(201);
        for n in 0..10 {
            append(&server, name, n, 2_000);
        }
    }
    server.stop();
    let stricter =
        r#"[{ streams = "age", max_age_secs = 1 }, { streams = "*", max_age_secs = 31536000, max_bytes = 9000 }]"#;
    let server = setup.with("retention.rules", stricter).start();
    until("the stricter rule to trim", || {
        numbers(&server, "age", "-1").is_empty() && numbers(&server, "size", "-1").len() <= 4
    });
}

#[test]
fn trimming_a_large_stream_frees_disk_blocks() {
    let setup = Setup::new().acid().with("storage.mode", "file-fast");
    let server = setup.start();
    create(&server, "stream-retention-bytes", "1000000");
    for n in 0..400 {
        append(&server, "s", n, 50_000);
    }
    until("disk space to be freed", || {
        disk_usage(&setup.data_dir().join("data")) < 8_000_000
    });
    let kept = numbers(&server, "s", "-1");
    assert_eq!(kept.last(), Some(&399));
    assert!((18..=20).contains(&kept.len()), "{}", kept.len());
}

/// The disk space used by a directory.
fn disk_usage(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            disk_usage(&entry.path())
        } else {
            512 * metadata.blocks()
        }
    });
    sizes.sum()
}

#[test]
fn an_invalid_retention_header_is_named() {
    let server = Setup::new().start();
    for (header, value) in [
        ("stream-retention-age", "0"),
        ("stream-retention-age", "-1"),
        ("stream-retention-age", "1d"),
        ("stream-retention-age", "99999999999999999999"),
        ("stream-retention-bytes", "0"),
        ("stream-retention-bytes", "1e3"),
        ("stream-retention-bytes", ""),
    ] {
        let answer = server.put("s").text("x").header(header, value).send();
        assert!(answer.problem(400).to_lowercase().contains(header), "{}", answer.text());
        server.head("s").send().expect(404);
    }
}

#[test]
fn an_invalid_retention_rule_fails_the_start() {
    for (rules, why) in [
        (r#"[{ max_bytes = 1 }]"#, "a rule needs `streams`"),
        (r#"[{ streams = "a" }]"#, "`max_age_secs`, `max_bytes` or both"),
        (r#"[{ streams = "a", max_bytes = 0 }]"#, "max_bytes: must be at least 1"),
        (
            r#"[{ streams = "a", max_age_sec = 1 }]"#,
            "did you mean \"max_age_secs\"?",
        ),
        (
            r#"[{ streams = "a", max_bytes = "x" }]"#,
            "max_bytes: expected a whole number",
        ),
        (r#"["a"]"#, "rules such as"),
    ] {
        let (code, _, error) = Setup::new().with("retention.rules", rules).run(&["check"]);
        assert_eq!(code, 78, "{error}");
        assert!(error.contains(why) && error.contains("RETENTION__RULES"), "{error}");
    }
}
