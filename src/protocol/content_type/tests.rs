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
fn text_is_text_and_the_rest_is_binary() {
    assert_eq!(ContentType::parse("TEXT/html").unwrap().kind(), Kind::Text);
    assert_eq!(ContentType::parse("application/ndjson").unwrap().kind(), Kind::Binary);
    assert_eq!(ContentType::default_type().kind(), Kind::Binary);
}

#[test]
fn what_is_no_type_is_refused() {
    for text in ["", "json", "/", "a/", "/b", "a b/c", "a/b/c", ";a/b", "é/b", "a/b\u{0}"] {
        assert!(ContentType::parse(text).is_err(), "{text:?}");
    }
    assert!(ContentType::parse(&format!("a/{}", "b".repeat(300))).is_err());
}
