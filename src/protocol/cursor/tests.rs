use super::*;

#[test]
fn a_cursor_never_goes_back() {
    let now = EPOCH_MILLIS + 1000 * INTERVAL_SECS * 1000 + 5;
    assert_eq!(next(now, None), 1000);
    assert_eq!(next(now, Some(3)), 1000);
    let largest = "9".repeat(MAX_DIGITS);
    // Also when the clock steps back, and near the limits of number types.
    for client in [
        "1000",
        "1001",
        "50000",
        "9007199254740991",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        &largest,
    ] {
        let client = parse(client).unwrap();
        for now in [now, 0] {
            let cursor = next(now, Some(client));
            assert!(cursor > client && cursor <= client + u128::from(MAX_JITTER), "{client}");
        }
    }
}

#[test]
fn a_foreign_cursor_is_none() {
    let long = "9".repeat(MAX_DIGITS + 1);
    for text in ["", "abc", "-1", "+1", "1.0", " 1", &long] {
        assert_eq!(parse(text), None, "{text}");
    }
}
