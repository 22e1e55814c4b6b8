use super::*;

#[test]
fn a_cursor_never_goes_back() {
    let now = EPOCH_MILLIS + 1000 * INTERVAL_MILLIS + 5;
    assert_eq!(next(now, None), 1000);
    assert_eq!(next(now, Some(3)), 1000);
    for client in [1000, 1001, 50_000] {
        let cursor = next(now, Some(client));
        assert!(cursor > client && cursor <= client + MAX_JITTER);
    }
    assert_eq!(next(now, Some(u64::MAX)), u64::MAX);
}

#[test]
fn a_foreign_cursor_is_none() {
    for text in ["", "abc", "-1", "99999999999999999999999"] {
        assert_eq!(parse(text), None);
    }
}
