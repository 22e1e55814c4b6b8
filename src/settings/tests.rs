use super::duration::seconds;

#[test]
fn times_are_rounded_up_to_seconds() {
    for (text, expected) in [
        ("30", 30),
        ("30s", 30),
        ("90 s", 90),
        ("1.5s", 2),
        ("0.5", 1),
        ("500ms", 1),
        ("1001ms", 2),
        ("5m", 300),
        ("1h", 3600),
        ("1h 30m", 5400),
        ("2d", 172_800),
        ("0s", 0),
    ] {
        assert_eq!(seconds(text), Some(expected), "{text}");
    }
    for text in ["", "soon", "-1s", "-0.5s", "1 fortnight", "1e300s", "NaN", "1mo", "."] {
        assert_eq!(seconds(text), None, "{text}");
    }
}
