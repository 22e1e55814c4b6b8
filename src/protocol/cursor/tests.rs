use super::*;

#[test]
fn a_cursor_never_goes_back() {
    let now = EPOCH_MILLIS + 1000 * INTERVAL_SECS * 1000 + 5;
    let unused = |_, _| panic!("a client that is behind needs no jitter");
    assert_eq!(next(now, None, unused), 1000);
    assert_eq!(next(now, Some(3), unused), 1000);
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
            assert_eq!(next(now, Some(client), |low, _| low), client + 1);
            assert_eq!(next(now, Some(client), |_, high| high), client + u128::from(MAX_JITTER));
        }
    }
}

#[test]
fn a_malformed_cursor_is_ignored() {
    let long = "9".repeat(MAX_DIGITS + 1);
    for text in ["", "abc", "-1", "+1", "1.0", " 1", &long] {
        assert_eq!(parse(text), None, "{text}");
    }
}
