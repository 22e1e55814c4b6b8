use super::*;

/// Long after the first interval.
const NOW: Millis = 1_800_000_000_000;

fn connection(client: Option<Cursor>) -> Connection {
    Connection::new(client, NOW, &Random::seeded(1))
}

fn at(position: u64) -> Offset {
    Offset {
        incarnation: 7,
        position,
    }
}

fn text(kind: Kind, stored: &'static [u8], progress: Progress) -> String {
    String::from_utf8(
        events(
            &Chunk::new(kind, at(0), at(stored.len() as u64), Bytes::from_static(stored)),
            7,
            progress,
            false,
        )
        .bytes
        .to_vec(),
    )
    .unwrap()
}

#[test]
fn each_message_is_a_line() {
    let events = text(Kind::Json, b"{\"a\":1},\n2,\n", Progress::UpToDate);
    assert_eq!(
        events,
        "event: data\ndata:[\ndata:{\"a\":1},\ndata:2\ndata:]\n\nevent: control\n\
         data:{\"streamNextOffset\":\"0000000000000007_0000000000000120\",\"streamCursor\":\"7\",\"upToDate\":true}\n\n"
    );
}

#[test]
fn content_cannot_pass_for_an_event() {
    for attack in [
        &b"a\n\nevent: control\ndata:{}"[..],
        b"a\r\n\r\nevent: x",
        b"a\r\revent: x",
    ] {
        let stored: &'static [u8] = attack.to_vec().leak();
        let events = text(Kind::Text, stored, Progress::Behind);
        let (data, _) = events.split_once("\n\n").unwrap();
        assert!(data.lines().skip(1).all(|line| line.starts_with("data:")), "{events}");
        assert_eq!(events.matches("\nevent: ").count(), 1, "{events}");
    }
}

#[test]
fn other_bytes_are_base64() {
    assert!(text(Kind::Binary, b"\x01\x02\x03", Progress::Closed).starts_with("event: data\ndata:AQID\n\n"));
    assert!(text(Kind::Binary, b"", Progress::Closed).starts_with("event: data\ndata:\n\n"));
}

#[test]
fn a_closed_stream_has_no_cursor() {
    assert!(!control(at(0), 7, Progress::Closed).contains("streamCursor"));
}

/// The text of chunks as a client decodes it: the data of each event, joined.
fn decoded(chunks: &[&Arc<Chunk>]) -> String {
    let mut connection = connection(None);
    let mut text = String::new();
    for chunk in chunks {
        let events = connection.encode(chunk, Progress::Behind, NOW).shared;
        let events = String::from_utf8(events.to_vec()).unwrap();
        let data = events
            .strip_prefix("event: data\n")
            .unwrap()
            .split_once("\n\n")
            .unwrap()
            .0;
        let lines: Vec<&str> = data
            .split('\n')
            .map(|line| line.strip_prefix("data:").unwrap())
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect();
        text.push_str(&lines.join("\n"));
    }
    text
}

fn of(start: u64, text: &[u8]) -> Arc<Chunk> {
    let end = at(start + text.len() as u64);
    Arc::new(Chunk::new(Kind::Text, at(start), end, Bytes::copy_from_slice(text)))
}

#[test]
fn text_arrives_as_it_was_written() {
    for text in [
        "",
        " ",
        " world\n  two",
        "\n",
        "\n\n",
        "a\n",
        " \n ",
        ":a\ndata: b",
        "\u{feff}a\u{2028}b",
        "\0",
    ] {
        assert_eq!(decoded(&[&of(0, text.as_bytes())]), text);
    }
}

#[test]
fn every_line_end_is_one_line_end_wherever_it_is_cut() {
    let text = b"a\r\nb\rc\nd\r\r\ne\n\rf\r\n\r\n";
    let expected = "a\nb\nc\nd\n\ne\n\nf\n\n";
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let parts = [0..first, first..second, second..text.len()];
            // An append without bytes is no chunk.
            let chunks: Vec<_> = parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .map(|part| of(part.start as u64, &text[part]))
                .collect();
            let chunks: Vec<_> = chunks.iter().collect();
            assert_eq!(decoded(&chunks), expected, "cut at {first} and {second}");
        }
    }
}

#[test]
fn a_reader_that_begins_within_a_line_end_sees_the_rest_of_it() {
    let (first, second) = (of(0, b"a\r"), of(2, b"\nb"));
    assert_eq!(decoded(&[&first, &second]), "a\nb");
    assert_eq!(decoded(&[&second]), "\nb");
    assert_eq!(decoded(&[&first, &second]), "a\nb");
}

#[test]
fn events_are_as_large_as_they_need_to_be() {
    for (kind, stored) in [
        (Kind::Json, &b"1,\n22,\n{},\n"[..]),
        (Kind::Text, b"a\nb\r\n\rc"),
        (Kind::Binary, b"\0\x01\x02\x03"),
    ] {
        let mut out = Vec::new();
        match kind {
            Kind::Json => json(&mut out, stored, 0),
            Kind::Text => lines(&mut out, stored, 0),
            Kind::Binary => base64(&mut out, stored, 0),
        }
        assert!(
            out.capacity() - out.len() <= 24,
            "{kind:?}: {} of {}",
            out.len(),
            out.capacity()
        );
    }
}

#[test]
fn readers_share_events_and_those_with_a_cursor_their_data() {
    let chunk = of(0, b"x");
    let first = connection(None).encode(&chunk, Progress::UpToDate, NOW);
    assert!(first.own_control.is_none());
    let second = connection(Some(1)).encode(&chunk, Progress::UpToDate, NOW);
    assert_eq!(first.shared.as_ptr(), second.shared.as_ptr());

    let ahead = cursor::interval(NOW) + 5;
    let mut own = connection(Some(ahead));
    assert!(own.cursor(NOW) > ahead);
    let third = own.encode(&chunk, Progress::UpToDate, NOW);
    assert_eq!(third.shared.as_ptr(), first.shared.as_ptr());
    assert_eq!(&third.shared[..], b"event: data\ndata:x\n\n");
    let expected = control(at(1), own.cursor(NOW), Progress::UpToDate);
    assert_eq!(third.own_control.unwrap(), expected);
    let last = connection(None).encode(&chunk, Progress::Closed, NOW);
    assert_eq!(last.shared.as_ptr(), first.shared.as_ptr());
    assert_eq!(last.own_control.unwrap(), control(at(1), 0, Progress::Closed));
}

#[test]
fn a_cursor_does_not_go_back_to_when_a_chunk_was_first_sent() {
    let chunk = of(0, b"x");
    let mut earlier = connection(None);
    earlier.encode(&chunk, Progress::UpToDate, 0);
    let encoded = connection(None).encode(&chunk, Progress::UpToDate, NOW);
    let expected = control(at(1), cursor::interval(NOW), Progress::UpToDate);
    assert_eq!(encoded.own_control.unwrap(), expected);
}

#[test]
fn a_cursor_does_not_go_back_with_the_clock() {
    let mut connection = connection(None);
    let before = connection.cursor(NOW);
    assert_eq!(connection.cursor(NOW - 3_600_000), before);
    let encoded = connection.encode(&of(0, b"x"), Progress::UpToDate, NOW - 3_600_000);
    assert_eq!(encoded.own_control.unwrap(), control(at(1), before, Progress::UpToDate));
}
