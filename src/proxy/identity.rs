//! The identity of a client that a trusted proxy has authenticated.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    config::{IdentityConfig, IdentityMode, TransportMode},
    listener::TlsInfo,
};

/// An extension of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyIdentity(pub HeaderValue);

/// The header in which the proxy passes the identity.
#[derive(Debug, Clone)]
pub(super) struct IdentityHeader {
    name: HeaderName,
    accepted: bool,
    require_tls: bool,
}

impl IdentityHeader {
    /// `None` unless a header is configured.
    pub(super) fn new(config: &IdentityConfig, transport: TransportMode) -> Option<Self> {
        let name = config.header_name.as_ref()?.parse().ok()?;
        Some(Self {
            name,
            accepted: config.mode == IdentityMode::Header && transport == TransportMode::Mtls,
            require_tls: config.require_tls,
        })
    }

    /// Returns the header if it can be trusted, and removes it otherwise.
    pub(super) fn trusted_or_removed(
        &self,
        headers: &mut HeaderMap,
        from_trusted_proxy: bool,
        tls: Option<TlsInfo>,
    ) -> Option<ProxyIdentity> {
        let secured = !self.require_tls || tls.is_some_and(|tls| tls.client_cert);
        let mut values = headers.get_all(&self.name).iter();
        match (values.next(), values.next()) {
            // One of two may be the client's own.
            (Some(only), None) if self.accepted && from_trusted_proxy && secured && !only.is_empty() => {
                Some(ProxyIdentity(only.clone()))
            }
            (None, _) => None,
            _ => {
                headers.remove(&self.name);
                None
            }
        }
    }
}
