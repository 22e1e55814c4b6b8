//! Patterns of streams, and the bodies of requests about subscriptions.

use crate::{http::fuzzing_subscription_body, protocol::StreamName, subscriptions::fuzzing_pattern};

/// A stream's name and a pattern on a line each, then a body.
pub fn subscriptions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\n');
    let mut part = || parts.next().unwrap_or_default();
    let (name, pattern, body) = (part(), part(), part());
    fuzzing_subscription_body(body.as_bytes());
    if let Ok(name) = StreamName::new(name) {
        fuzzing_pattern(pattern, &name);
    }
}
