//! Every kind of error response, and the one writer of `application/problem+json` (RFC 9457).

mod document;
mod kinds;

#[cfg(test)]
mod tests;

pub(crate) use document::{CONTENT_TYPE, document};
pub(crate) use kinds::*;
