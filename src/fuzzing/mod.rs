//! What the fuzz targets do with their input: one function for everything here that parses what
//! others wrote. `fuzz/` gives them to libFuzzer; the tests beside this file run each of them on
//! the seeds in `fuzz/seeds` and on what a seeded generator makes of those.
//!
//! A target fails by panicking: because the code under it does, or because something does not
//! hold that has to hold for every input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod auth;
mod config;
mod protocol;
mod proxy;
mod requests;
mod subscriptions;
mod webhook;

#[cfg(test)]
mod tests;

use ::http::{HeaderMap, HeaderName, HeaderValue};

pub use self::{
    auth::{keys, tokens},
    config::{rails_yaml, toml},
    protocol::{headers, json, names, offsets},
    proxy::forwarding,
    requests::requests,
    subscriptions::subscriptions,
    webhook::{webhook_answers, webhook_urls},
};
pub use crate::storage::fuzzing_journal::{journal, records};

/// A fuzz target.
pub type Target = fn(&[u8]);

/// All of them, by the names that `bin/fuzz` knows them by.
pub const TARGETS: [(&str, Target); 15] = [
    ("names", names),
    ("offsets", offsets),
    ("headers", headers),
    ("json", json),
    ("tokens", tokens),
    ("keys", keys),
    ("rails_yaml", rails_yaml),
    ("toml", toml),
    ("forwarding", forwarding),
    ("requests", requests),
    ("records", records),
    ("journal", journal),
    ("webhook_urls", webhook_urls),
    ("webhook_answers", webhook_answers),
    ("subscriptions", subscriptions),
];

/// Headers from lines such as `name: value`. What HTTP does not let pass is left out.
fn header_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take(200) {
        let (name, value) = split_at(line, b':').unwrap_or((line, &[]));
        let name = HeaderName::from_bytes(name.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}

/// What stands before and behind the first `byte`.
fn split_at(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|found| *found == byte)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}
