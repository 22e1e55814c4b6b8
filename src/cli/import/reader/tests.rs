use super::*;

fn read(text: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader::new(text.as_bytes());
    let mut items = Vec::new();
    while let Some(item) = reader.next().map_err(|error| error.to_string())? {
        items.push(match item {
            Item::Header(header) => format!("{} {}", header.stream, header.metadata.content_type),
            Item::Message(message) => message.get().to_owned(),
            Item::Bytes(bytes) => format!("{bytes:?}"),
            Item::End { closed } => format!("end {closed}"),
        });
    }
    Ok(items)
}

const JSON: &str = "{\"stream\":\"a\",\"content_type\":\"application/json\",\"closed\":false,\"offset\":\"0\"}\n";
const TEXT: &str = "{\"stream\":\"b\",\"content_type\":\"text/plain\"}\n";

#[test]
fn streams_are_read_one_after_the_other() {
    let text = format!(
        "{JSON}{{\"json\":null}}\n{{\"json\": [1.50, {{\"x\":1e400}}]}}\n{{\"end\":true,\"messages\":2,\"closed\":true}}\n\
         {TEXT}{{\"text\":\"ü\"}}\n{{\"base64\":\"/w==\"}}\n{{\"end\":true,\"bytes\":3}}"
    );
    let expected = [
        "a application/json",
        "null",
        "[1.50, {\"x\":1e400}]",
        "end true",
        "b text/plain",
        "b\"\\xc3\\xbc\"",
        "b\"\\xff\"",
        "end false",
    ];
    assert_eq!(read(&text).unwrap(), expected);
    assert_eq!(read("").unwrap(), Vec::<String>::new());
}

#[test]
fn an_error_names_the_line_and_what_was_expected() {
    let end = "{\"end\":true,\"messages\":1,\"closed\":false}\n";
    let cases = [
        (
            JSON.to_owned(),
            "line 2: the input ends within the stream \"a\", which began in line 1",
        ),
        (
            format!("{JSON}{{\"json\":1}}\n{{\"js"),
            "line 3: the input ends within this line",
        ),
        (format!("{JSON}{{\"json\":1\n"), "line 2: column "),
        (
            format!("{JSON}{{\"json\":}}\n"),
            "expected {\"json\":...} or {\"end\":true,...}",
        ),
        (format!("{JSON}{{\"text\":\"x\"}}\n"), "line 2: expected {\"json\":...}"),
        (format!("{TEXT}{{\"json\":1}}\n"), "line 2: expected {\"text\":"),
        (format!("{TEXT}{{\"base64\":\"*\"}}\n"), "line 2: base64: "),
        (format!("{JSON}{{\"json\":1,\"text\":\"x\"}}\n"), "line 2: expected"),
        (format!("{JSON}{{\"end\":false,\"messages\":0}}\n"), "line 2: expected"),
        (format!("{JSON}{{\"json\":1,\"more\":1}}\n"), "unknown field `more`"),
        (format!("{JSON}{{\"json\":1,\"json\":2}}\n"), "duplicate field `json`"),
        (format!("{JSON}{end}"), "counts 1 messages, but there are 0"),
        (
            format!("{JSON}{{\"end\":true,\"bytes\":0}}\n"),
            "line 2: the member messages is missing",
        ),
        (format!("{JSON}{JSON}"), "line 2: column 9: unknown field `stream`"),
        (format!("{JSON}{{\"json\":1,\"closed\":true}}\n"), "line 2: expected"),
        (
            format!("{JSON}{{\"json\":1,\"end\":true,\"messages\":1}}\n"),
            "line 2: is an end with content",
        ),
        (end.to_owned(), "line 1: column 6: unknown field `end`"),
        ("{\"json\":1}\n".to_owned(), "expected the first line of a stream"),
        ("{\"stream\":\"a\"}\n".to_owned(), "expected the first line of a stream"),
        ("\n".to_owned(), "line 1: is not a JSON object; expected"),
        ("[\"a\",\"b/c\"]\n".to_owned(), "line 1: is not a JSON object; expected"),
        (
            "{\"stream\":\"a/../b\",\"content_type\":\"a/b\"}\n".to_owned(),
            "`..` segment",
        ),
        (
            "{\"stream\":\"a\",\"content_type\":\"x\"}\n".to_owned(),
            "line 1: content_type: ",
        ),
        (TEXT.replace("}", ",\"expires_at\":\"soon\"}"), "line 1: expires_at: "),
        (
            TEXT.replace("}", ",\"ttl_seconds\":1,\"expires_at\":\"2030-01-31T12:00:00Z\"}"),
            "line 1: has both",
        ),
        (TEXT.replace("}", ",\"ttl_seconds\":-1}"), "line 1: column "),
    ];
    for (text, part) in cases {
        let said = read(&text).unwrap_err();
        assert!(said.contains(part), "{part:?} is not in {said:?}, of {text}");
    }
}
