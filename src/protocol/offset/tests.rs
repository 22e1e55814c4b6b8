use super::*;

fn at(incarnation: u64, position: u64) -> Offset {
    Offset { incarnation, position }
}

#[test]
fn offsets_sort_as_text_and_parse_to_what_they_were() {
    let offsets = [
        at(0, 0),
        at(0, 9),
        at(0, Offset::MAX_POSITION),
        at(1, 0),
        at(1, 1),
        at(1_700_000_000_000_000, 10),
        at(1_700_000_000_000_001, 9),
        at(Offset::MAX_INCARNATION, Offset::MAX_POSITION),
    ];
    let texts: Vec<String> = offsets.iter().map(Offset::to_string).collect();
    assert!(texts.is_sorted());
    for (offset, text) in offsets.iter().zip(&texts) {
        assert_eq!(text.len(), 33);
        assert_eq!(Offset::parse("offset", text), Ok(*offset));
    }
    assert_eq!(texts[0], "0000000000000000_0000000000000000");
    assert_eq!(at(7, 4711).to_string(), "0000000000000007_0000000000047110");
}

#[test]
fn the_last_digit_is_ignored() {
    for digit in 0..10 {
        let text = format!("0000000000000007_000000000004711{digit}");
        assert_eq!(ReadFrom::parse(&text), Ok(ReadFrom::At(at(7, 4711))), "{text}");
        let zero = format!("0000000000000000_000000000000000{digit}");
        assert_eq!(ReadFrom::parse(&zero), Ok(ReadFrom::Beginning), "{zero}");
    }
}

#[test]
fn anything_else_is_refused() {
    for text in [
        "0",
        "_",
        "-2",
        "NOW",
        "0000000000000000",
        "0000000000000000-0000000000000000",
        "000000000000000_0000000000000000",
        "+000000000000000_0000000000000000",
        "0000000000000000_000000000000000a",
        "0000000000000000_0000000000000000 ",
        "0000000000000000_00000000000000000",
        "0000000000000000_0000000000000000_0",
        "٠000000000000000_0000000000000000",
    ] {
        assert!(ReadFrom::parse(text).is_err(), "{text}");
    }
    assert!(ReadFrom::parse("").is_err());
    assert_eq!(ReadFrom::parse("-1"), Ok(ReadFrom::Beginning));
    assert_eq!(ReadFrom::parse("now"), Ok(ReadFrom::Now));
}
