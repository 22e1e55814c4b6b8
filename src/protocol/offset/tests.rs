use super::*;

#[test]
fn offsets_sort_as_text_and_come_back_as_they_were() {
    let positions = [0, 1, 9, 10, HALF - 1, HALF, HALF + 1, u64::MAX];
    let texts: Vec<String> = positions.iter().map(|at| Offset(*at).to_string()).collect();
    assert!(texts.is_sorted());
    for (position, text) in positions.iter().zip(&texts) {
        assert_eq!(Offset::parse("offset", text), Ok(Offset(*position)));
    }
    assert_eq!(texts[0], "0000000000000000_0000000000000000");
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
        "9999999999999999_0000000000000000",
        "0000000000000000_0000000000000000 ",
        "٠000000000000000_0000000000000000",
    ] {
        assert!(ReadFrom::parse(text).is_err(), "{text}");
    }
    assert!(ReadFrom::parse("").is_err());
    assert_eq!(ReadFrom::parse("-1"), Ok(ReadFrom::Beginning));
    assert_eq!(ReadFrom::parse("now"), Ok(ReadFrom::Now));
}
