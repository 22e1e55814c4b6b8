//! Times as people write them.

use jiff::{Span, SpanRelativeTo};

/// Whole seconds of `30s`, `5m`, `1h 30m`, `500ms`, `2d` or plain seconds. Rounded up: a short
/// time must not become 0, which has a meaning of its own.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let span: Span = if is_number {
        format!("{text}s").parse()
    } else {
        text.parse()
    }
    .ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let rest = u64::from(duration.subsec_nanos() > 0);
    let seconds = u64::try_from(duration.as_secs()).ok()?;
    (!duration.is_negative()).then(|| seconds.saturating_add(rest))
}
