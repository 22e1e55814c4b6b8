//! What the tests share: servers, requests, live readers, tokens.

#![allow(dead_code)]

pub mod certs;
pub mod curl;
pub mod hostile;
pub mod http;
pub mod live;
pub mod log;
pub mod namespaces;
pub mod peers;
pub mod server;
pub mod storage;
pub mod tokens;
pub mod unprivileged;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nothing in these tests takes this long unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The position that an offset names. Only a test may know that.
pub fn position(offset: &str) -> u64 {
    let (_, position) = offset.split_once('_').expect("an offset");
    position.parse::<u64>().expect("a position") / 10
}

/// An offset of the same life at another position.
pub fn at_position(offset: &str, position: u64) -> String {
    let (life, _) = offset.split_once('_').expect("an offset");
    format!("{life}_{:016}", position * 10)
}

/// An offset with another last digit.
pub fn with_last_digit(offset: &str, digit: u8) -> String {
    format!("{}{digit}", &offset[..offset.len() - 1])
}

/// The clock, in seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
