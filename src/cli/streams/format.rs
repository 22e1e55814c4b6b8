//! Members of a stream in words.

use serde_json::{Map, Value};

use crate::cli::remote::shown;

/// The lifetime in words.
pub(super) fn lifetime(ttl_seconds: Option<u64>, expires_at: Option<&str>) -> String {
    match (ttl_seconds, expires_at) {
        (Some(secs), _) => format!("ttl {secs}s"),
        (None, Some(at)) => format!("until {}", shown(at)),
        (None, None) => "unlimited".into(),
    }
}

/// A member that is a string.
pub(super) fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}
