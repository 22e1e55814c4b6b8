use http::{HeaderMap, HeaderName, HeaderValue};

use super::{IdentityConfig, IdentityMode};
use crate::listener::{TlsInfo, TransportMode};

/// Whom a trusted proxy says that it has authenticated, as an extension of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyIdentity(pub HeaderValue);

/// The hand-off of an identity in a header.
#[derive(Debug, Clone)]
pub(super) struct Handoff {
    header: HeaderName,
    accepted: bool,
    require_tls: bool,
}

impl Handoff {
    /// `None` when no header is named, so that there is nothing to accept or to remove.
    pub(super) fn new(config: &IdentityConfig, transport: TransportMode) -> Option<Self> {
        let header = config.header_name.as_ref()?.parse().ok()?;
        Some(Self {
            header,
            accepted: config.mode == IdentityMode::Header && transport == TransportMode::Mtls,
            require_tls: config.require_tls,
        })
    }

    /// Takes the header out of the request unless it may be believed; then it stays, and is
    /// returned.
    pub(super) fn take(
        &self,
        headers: &mut HeaderMap,
        from_trusted_proxy: bool,
        tls: Option<TlsInfo>,
    ) -> Option<ProxyIdentity> {
        let secured = !self.require_tls || tls.is_some_and(|tls| tls.client_cert);
        let mut values = headers.get_all(&self.header).iter();
        match (values.next(), values.next()) {
            // Two of them could mean a client's own beside the proxy's.
            (Some(only), None) if self.accepted && from_trusted_proxy && secured && !only.is_empty() => {
                Some(ProxyIdentity(only.clone()))
            }
            (None, _) => None,
            _ => {
                headers.remove(&self.header);
                None
            }
        }
    }
}
