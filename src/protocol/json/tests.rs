use super::*;

const DEPTH: usize = 64;

fn messages(body: &str) -> String {
    String::from_utf8(flatten(body.as_bytes(), false, DEPTH).unwrap().to_vec()).unwrap()
}

fn refusal(body: &[u8]) -> String {
    match flatten(body, true, DEPTH) {
        Ok(stored) => panic!("{body:?} is accepted as {stored:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn one_level_of_array_is_flattened() {
    assert_eq!(messages(r#"{"a":1}"#), "{\"a\":1},\n");
    assert_eq!(messages(r#" [1, "x" ,[2]] "#), "1,\n\"x\",\n[2],\n");
    assert_eq!(messages("[[[1,2,3]]]"), "[[1,2,3]],\n");
    assert_eq!(messages("null"), "null,\n");
    assert_eq!(messages("[[],{}]"), "[],\n{},\n");
}

#[test]
fn messages_stay_as_they_were_written() {
    for message in [
        "1.0e5",
        "-0",
        "-0.5E-7",
        "1e-999",
        "123456789012345678901234567890",
        &format!("1{}", "0".repeat(308)),
        "1.7976931348623157e308",
        r#""\u00e9\n\/\b\f\r\t\\\"""#,
        r#""\ud83d\ude00\uD83D\uDE00""#,
        "\"\u{7f}\u{2028}\u{10ffff}\"",
        r#"{"":1,"a":[true,false,null],"a":{"b":{}}}"#,
        "[ 1 ,\t2 ]",
    ] {
        assert_eq!(
            messages(&format!("[ {message} , {message} ]")),
            format!("{message},\n{message},\n")
        );
    }
}

#[test]
fn line_breaks_between_tokens_become_spaces() {
    assert_eq!(messages("{\r\n  \"a\":\n1}"), "{    \"a\": 1},\n");
    assert_eq!(messages("[\n{\n\"a\":1\r}\n,\n2\n]\n"), "{ \"a\":1 },\n2,\n");
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
fn other_texts_are_refused_with_the_place() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "expected a value at byte 0"),
        (b"  ", "expected a value at byte 2"),
        (b"{", "expected a member's name in quotes at byte 1"),
        (b"{a:1}", "expected a member's name in quotes at byte 1"),
        (b"{\"a\" 1}", "expected `:` at byte 5"),
        (b"{\"a\":1,}", "expected a member's name in quotes at byte 7"),
        (b"{\"a\":1]", "expected `,` or `}` at byte 6"),
        (b"[1,]", "expected a value at byte 3"),
        (b"[,1]", "expected a value at byte 1"),
        (b"[1 2]", "expected `,` or `]` at byte 3"),
        (b"[1}", "expected `,` or `]` at byte 2"),
        (b"[[1}]", "expected `,` or `]` at byte 3"),
        (b"[1", "expected `,` or `]` at byte 2"),
        (b"[1] 2", "unexpected text after the value at byte 4"),
        (b"{\"a\":1}{\"b\":2}", "unexpected text after the value at byte 7"),
        (b"1\0", "unexpected text after the value at byte 1"),
        (b"01", "a number with a leading zero at byte 1"),
        (b"-", "expected a digit at byte 1"),
        (b"+1", "expected a value at byte 0"),
        (b".5", "expected a value at byte 0"),
        (b"1.", "expected a digit at byte 2"),
        (b"1.e5", "expected a digit at byte 2"),
        (b"1e", "expected a digit at byte 2"),
        (b"1e+", "expected a digit at byte 3"),
        (b"0x10", "unexpected text after the value at byte 1"),
        (b"nul", "expected a value at byte 0"),
        (b"nullx", "unexpected text after the value at byte 4"),
        (b"NaN", "expected a value at byte 0"),
        (b"[Infinity]", "expected a value at byte 1"),
        (b"-Infinity", "expected a digit at byte 1"),
        (b"'a'", "expected a value at byte 0"),
        (b"\"a", "unterminated string at byte 2"),
        (b"\"a\nb\"", "unescaped control character in a string at byte 2"),
        (b"\"\0\"", "unescaped control character in a string at byte 1"),
        (b"\"\\x\"", "invalid escape at byte 1"),
        (b"\"\\", "invalid escape at byte 1"),
        (b"\"\\u12\"", "invalid escape at byte 1"),
        (b"\"\\u+123\"", "invalid escape at byte 1"),
        ("\u{feff}1".as_bytes(), "expected a value at byte 0"),
        (b"\"\xff\"", "invalid UTF-8 at byte 1"),
        (b"\"\xed\xa0\x80\"", "invalid UTF-8 at byte 1"),
        (b"/**/1", "expected a value at byte 0"),
        (b"1 // one", "unexpected text after the value at byte 2"),
        (b"[\x0c1]", "expected a value at byte 1"),
    ];
    for (body, problem) in cases {
        assert_eq!(refusal(body), format!("body: is not valid JSON: {problem}"));
    }
    assert!(flatten(b"[]", false, DEPTH).is_err());
    assert_eq!(flatten(b" [ ] ", true, DEPTH).unwrap().len(), 0);
}

#[test]
fn json_that_common_parsers_reject_is_refused_with_the_place() {
    let surrogate = "an unpaired surrogate escape";
    let range = "a number beyond the range of a double (about 1.8e308)";
    let long = "a number longer than 1000 bytes";
    let digits = |count: usize| "7".repeat(count);
    let cases: &[(String, &str, usize)] = &[
        (r#""\ud800""#.into(), surrogate, 1),
        (r#""ab\udc00""#.into(), surrogate, 3),
        (r#"{"\udbff":1}"#.into(), surrogate, 2),
        (r#""\ud83d\u0041""#.into(), surrogate, 1),
        (r#""\ud83d\ud83d\ude00""#.into(), surrogate, 1),
        (r#""\ud83dx""#.into(), surrogate, 1),
        ("1e999".into(), range, 0),
        ("[1,-1E+400]".into(), range, 3),
        ("1.8e308".into(), range, 0),
        (format!("1{}", "0".repeat(309)), range, 0),
        (format!("{{\"a\":{}.5}}", digits(400)), range, 5),
        (digits(5000), long, 0),
        (format!("0.{}", digits(5000)), long, 0),
    ];
    for (body, problem, at) in cases {
        let expected = format!("body: has {problem} at byte {at}, which common JSON parsers reject");
        assert_eq!(refusal(body.as_bytes()), expected, "{body}");
    }
}

#[test]
fn messages_nest_as_deep_as_the_limit() {
    let arrays = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let both = |depth: usize| format!("{}{}", "[{\"a\":".repeat(depth / 2), "}]".repeat(depth / 2));
    // The array around the messages does not count.
    assert!(flatten(arrays(DEPTH + 1).as_bytes(), true, DEPTH).is_ok());
    assert!(flatten(objects(DEPTH).as_bytes(), true, DEPTH).is_ok());
    let nested = |body: String, at: usize| {
        let expected = format!("body: has a message that nests deeper than {DEPTH} levels at byte {at}");
        assert_eq!(refusal(body.as_bytes()), expected);
    };
    nested(arrays(DEPTH + 2), DEPTH + 1);
    nested(objects(DEPTH + 1), 5 * DEPTH);
    nested(format!("[1,{}]", both(DEPTH + 2)), 3 + 6 * DEPTH / 2);
    nested("[".repeat(1_000_000), DEPTH + 1);
    nested("{\"a\":[".repeat(1_000_000), 6 * DEPTH / 2);
}

#[test]
fn the_stored_form_takes_no_more_memory_than_it_has_bytes() {
    let padding = " ".repeat(100_000);
    for body in [
        format!("[{}1]", "1,".repeat(50_000)),
        format!("[{padding}1{padding},{padding}2{padding}]{padding}"),
        format!("{padding}1"),
        format!("[\"{}\"]", ",".repeat(50_000)),
    ] {
        let stored = flatten(body.as_bytes(), false, DEPTH).unwrap();
        let len = stored.len();
        let owned: Vec<u8> = stored.into();
        assert!(owned.capacity() == len && len <= body.len() + body.len() / 2, "{len}");
    }
}

#[test]
fn strings_end_where_they_end_at_any_length() {
    for len in 0..40 {
        let plain = "é~\u{7f}xyz ".chars().cycle().take(len).collect::<String>();
        for (rest, at) in [
            ("\"", None),
            ("\u{1}\"", Some(0)),
            ("\n\"", Some(0)),
            ("\\q\"", Some(0)),
            ("", Some(0)),
        ] {
            let body = format!("\"{plain}{rest}");
            match (flatten(body.as_bytes(), true, DEPTH), at) {
                (Ok(stored), None) => assert_eq!(stored, format!("{body},\n")),
                (Err(error), Some(at)) => {
                    let place = format!("at byte {}", 1 + plain.len() + at);
                    assert!(error.reason.ends_with(&place), "{error} for {body:?}");
                }
                (found, _) => panic!("{found:?} for {body:?}"),
            }
        }
        assert_eq!(
            messages(&format!("\"{plain}\\\"{plain}\"")),
            format!("\"{plain}\\\"{plain}\",\n")
        );
    }
}
