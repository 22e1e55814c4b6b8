//! A number of streams in words.

use std::fmt;

/// "1 stream", "2 streams".
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamCount(pub(super) u64);

impl fmt::Display for StreamCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "stream" } else { "streams" })
    }
}
