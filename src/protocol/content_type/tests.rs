use super::*;

#[test]
fn case_and_parameters_do_not_matter() {
    let json = ContentType::parse("application/json").unwrap();
    let loud = ContentType::parse("Application/JSON; charset=utf-8").unwrap();
    assert!(json.matches(&loud));
    assert_eq!((json.kind(), loud.kind()), (Kind::Json, Kind::Json));
    assert!(!json.matches(&ContentType::parse("application/jsonl").unwrap()));
}

#[test]
fn common_types_are_what_parsing_makes_of_them() {
    for (text, kind) in COMMON {
        let parsed = ContentType::parse(&format!(" {text}")).unwrap();
        assert_eq!((parsed.as_str(), parsed.kind()), (text, kind));
        assert_eq!(ContentType::parse(text), Ok(parsed));
    }
}

#[test]
fn text_is_text_and_the_rest_is_binary() {
    assert_eq!(ContentType::parse("TEXT/html").unwrap().kind(), Kind::Text);
    assert_eq!(ContentType::parse("application/ndjson").unwrap().kind(), Kind::Binary);
    assert_eq!(ContentType::default_type().kind(), Kind::Binary);
}

#[test]
fn text_of_another_charset_is_binary() {
    for (parameters, kind) in [
        ("", Kind::Text),
        ("; charset=utf-8", Kind::Text),
        (";Charset=\"UTF-8\"", Kind::Text),
        ("; format=flowed; charset = US-ASCII", Kind::Text),
        ("; charset=iso-8859-1", Kind::Binary),
        ("; charset=utf-16", Kind::Binary),
        ("; x=y; CHARSET=\"windows-1252\"", Kind::Binary),
    ] {
        let content_type = format!("text/plain{parameters}");
        assert_eq!(
            ContentType::parse(&content_type).unwrap().kind(),
            kind,
            "{content_type}"
        );
    }
    let json = ContentType::parse("application/json; charset=utf-16").unwrap();
    assert_eq!(json.kind(), Kind::Json, "JSON is UTF-8 (RFC 8259)");
}

#[test]
fn anything_else_is_refused() {
    for text in ["", "json", "/", "a/", "/b", "a b/c", "a/b/c", ";a/b", "é/b", "a/b\u{0}"] {
        assert!(ContentType::parse(text).is_err(), "{text:?}");
    }
    assert!(ContentType::parse(&format!("a/{}", "b".repeat(300))).is_err());
}
