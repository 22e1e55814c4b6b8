//! The stand-in for automatic HTTPS in a build without the feature `acme`.

use std::path::Path;

use super::context::{TlsContext, TlsContextError};
use crate::config::TransportConfig;

/// Never made.
#[derive(Debug, Clone)]
pub(super) enum Certification {}

/// Refuses `transport.acme.domain`.
///
/// # Errors
/// Always.
pub fn build_acme_context(_: &TransportConfig, _: &Path) -> Result<TlsContext, TlsContextError> {
    let reason = "this build has no automatic HTTPS; build it with the feature `acme`, or set transport.tls";
    Err(TlsContextError::Acme(reason.into()))
}

pub(super) async fn keep_certified(certification: Certification) {
    match certification {}
}
