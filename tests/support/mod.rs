//! Shared test code: servers, requests, live readers, tokens.

#![allow(dead_code)]

pub mod certs;
pub mod curl;
pub mod http;
pub mod live;
pub mod log;
pub mod namespaces;
pub mod peers;
pub mod server;
pub mod shared;
pub mod storage;
pub mod unprivileged;
pub mod webhooks;

pub use shared::{rng, tokens};

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A wait this long means that the code is broken.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Waits for a condition.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < TIMEOUT, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The position in an offset, which is opaque to clients.
pub fn position(offset: &str) -> u64 {
    let (_, position) = offset.split_once('_').expect("an offset");
    position.parse::<u64>().expect("a position") / 10
}

/// An offset with the same incarnation and another position.
pub fn at_position(offset: &str, position: u64) -> String {
    let (life, _) = offset.split_once('_').expect("an offset");
    format!("{life}_{:016}", position * 10)
}

pub fn with_last_digit(offset: &str, digit: u8) -> String {
    format!("{}{digit}", &offset[..offset.len() - 1])
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
