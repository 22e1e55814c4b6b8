use super::*;

fn at(position: u64) -> Offset {
    Offset {
        incarnation: 7,
        position,
    }
}

/// A chunk at the beginning of a stream.
fn shared(kind: Kind, stored: &'static [u8]) -> Chunk {
    let end = at(stored.len() as u64);
    Chunk::new(kind, at(0), end, Bytes::from_static(stored))
}

fn text(kind: Kind, stored: &'static [u8], state: State) -> String {
    String::from_utf8(chunk(&shared(kind, stored), 7, state).bytes.to_vec()).unwrap()
}

#[test]
fn messages_stand_on_lines_of_their_own() {
    let events = text(Kind::Json, b"{\"a\":1},\n2,\n", State::UpToDate);
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
        let events = text(Kind::Text, stored, State::Behind);
        let (data, _) = events.split_once("\n\n").unwrap();
        assert!(data.lines().skip(1).all(|line| line.starts_with("data:")), "{events}");
        assert_eq!(events.matches("\nevent: ").count(), 1, "{events}");
    }
}

#[test]
fn other_bytes_are_base64() {
    assert!(text(Kind::Binary, b"\x01\x02\x03", State::Closed).starts_with("event: data\ndata:AQID\n\n"));
    assert!(text(Kind::Binary, b"", State::Closed).starts_with("event: data\ndata:\n\n"));
}

#[test]
fn a_closed_stream_has_no_cursor() {
    assert!(!control(at(0), 7, State::Closed).contains("streamCursor"));
}

#[test]
fn readers_share_events_and_those_with_a_cursor_their_data() {
    let shared = shared(Kind::Text, b"x");
    let (first, rest) = Cursor::new(None).encode(&shared, State::UpToDate);
    assert!(rest.is_none());
    let (second, _) = Cursor::new(Some(1)).encode(&shared, State::UpToDate);
    assert_eq!(first.as_ptr(), second.as_ptr());

    let ahead = cursor::interval(clock::now_millis()) + 5;
    let own = Cursor::new(Some(ahead));
    assert!(own.value() > ahead);
    let (data, rest) = own.encode(&shared, State::UpToDate);
    assert_eq!(data.as_ptr(), first.as_ptr());
    assert_eq!(&data[..], b"event: data\ndata:x\n\n");
    assert_eq!(rest.unwrap(), control(at(1), own.value(), State::UpToDate));
    let (data, rest) = Cursor::new(None).encode(&shared, State::Closed);
    assert_eq!(data.as_ptr(), first.as_ptr());
    assert_eq!(rest.unwrap(), control(at(1), 0, State::Closed));
}

#[test]
fn a_cursor_does_not_go_back_to_when_a_chunk_was_first_sent() {
    let shared = shared(Kind::Text, b"x");
    shared.events(true, || chunk(&shared, 3, State::UpToDate));
    let (_, rest) = Cursor::new(Some(4)).encode(&shared, State::UpToDate);
    assert!(!String::from_utf8(rest.unwrap().to_vec()).unwrap().contains("\"3\""));
}
