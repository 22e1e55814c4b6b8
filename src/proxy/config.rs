//! `[proxy]`: the proxies whose forwarding headers are trusted.

use ipnet::IpNet;

use crate::settings::{choices, section};

choices! {
    /// `proxy.forwarded_headers`
    #[derive(Default)]
    pub enum ForwardedHeaders {
        /// No forwarding header is read.
        #[default]
        None = "none",
        /// `X-Forwarded-For`, `-Proto`, `-Host`.
        XForwarded = "x-forwarded",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

choices! {
    /// `proxy.identity.mode`
    #[derive(Default)]
    pub enum IdentityMode {
        /// No identity is read.
        #[default]
        None = "none",
        /// From `proxy.identity.header_name`, in mtls mode, from a trusted proxy.
        Header = "header",
    }
}

section! {
    /// Proxies whose forwarding headers are trusted.
    pub struct ProxyConfig {
        /// Whether any proxy is trusted.
        enabled: bool = false;
        /// Headers that carry the client's address.
        forwarded_headers: ForwardedHeaders = ForwardedHeaders::None;
        /// Addresses or CIDR blocks of the proxies. Required when enabled.
        trusted_proxies: Vec<IpNet> = Vec::new();
    }
    sections {
        /// A client's identity, taken from a proxy.
        identity: IdentityConfig,
    }
}

section! {
    /// A client's identity, taken from a proxy.
    pub struct IdentityConfig {
        /// Where the identity comes from; "header" needs `transport.mode = "mtls"`.
        mode: IdentityMode = IdentityMode::None;
        /// Header that carries the identity. Required in mode header.
        header_name: Option<String> = None, { example: "\"x-client-identity\"" };
        /// Whether the identity is read from TLS connections only.
        require_tls: bool = true;
    }
}

impl ProxyConfig {
    /// The trusted proxies; none unless `proxy.enabled`.
    #[must_use]
    pub fn trusted(&self) -> &[IpNet] {
        if self.enabled { &self.trusted_proxies } else { &[] }
    }
}
