use super::*;

fn messages(body: &str) -> String {
    String::from_utf8(
        flatten(&Bytes::copy_from_slice(body.as_bytes()), false)
            .unwrap()
            .to_vec(),
    )
    .unwrap()
}

#[test]
fn one_level_of_array_is_flattened() {
    assert_eq!(messages(r#"{"a":1}"#), "{\"a\":1},\n");
    assert_eq!(messages(r#" [1, "x" ,[2]] "#), "1,\n\"x\",\n[2],\n");
    assert_eq!(messages("[[[1,2,3]]]"), "[[1,2,3]],\n");
    assert_eq!(messages("null"), "null,\n");
}

#[test]
fn numbers_and_escapes_stay_as_they_were_written() {
    assert_eq!(
        messages(r#"[1.0e5, 123456789012345678901234567890, "\u00e9\n"]"#)
            .lines()
            .count(),
        3
    );
    assert!(messages(r#"[1.0e5, 123456789012345678901234567890]"#).contains("123456789012345678901234567890"));
}

#[test]
fn line_breaks_between_tokens_become_spaces() {
    assert_eq!(messages("{\r\n  \"a\":\n1}"), "{    \"a\": 1},\n");
}

#[test]
fn an_array_reads_back() {
    assert_eq!(array(b"1,\n{\"a\":2},\n"), "[1,\n{\"a\":2}]");
    assert_eq!(array(b""), "[]");
}

#[test]
fn messages_are_found_by_their_ends() {
    let kept = b"1,\n\"a\",\n[2],\n";
    assert_eq!(end_of(1, kept), Ok(3));
    assert_eq!(end_of(3, kept), Ok(kept.len()));
    assert_eq!(end_of(4, kept), Err(3));
    assert_eq!(whole_messages(&kept[..7]), 3);
    assert_eq!(whole_messages(b"12"), 0);
    assert!(ends_message(b"1,\n"));
    assert!(!ends_message(b"1,"));
}

#[test]
fn what_is_not_json_is_refused() {
    for body in [
        "",
        "{",
        "[1,]",
        "[1] 2",
        "01",
        "nul",
        "'a'",
        "[1",
        "\u{feff}1",
        "{\"a\":1}{\"b\":2}",
    ] {
        assert!(
            flatten(&Bytes::copy_from_slice(body.as_bytes()), true).is_err(),
            "{body:?}"
        );
    }
    assert!(flatten(&Bytes::from_static(b"\"\xff\""), true).is_err());
    assert!(flatten(&Bytes::from_static(b"[]"), false).is_err());
    assert_eq!(flatten(&Bytes::from_static(b" [ ] "), true).unwrap().len(), 0);
    let deep = "[".repeat(100_000);
    assert!(flatten(&Bytes::from(deep), true).is_err());
}
