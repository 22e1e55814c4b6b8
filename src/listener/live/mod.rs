//! Live responses on HTTP/1.1.

mod client_watch;
pub(super) mod handoff;
pub(super) mod takeover;
pub(super) mod writer;
