use ipnet::IpNet;

use super::schema::{choices, section};

/// `proxy.forwarded_headers`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeaders {
    /// `none`: no forwarding header is read.
    #[default]
    None,
    /// `x-forwarded`: `X-Forwarded-For`, `-Proto`, `-Host`.
    XForwarded,
    /// `forwarded`: RFC 7239.
    Forwarded,
}

/// `proxy.identity.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdentityMode {
    /// `none`: no identity is taken over.
    #[default]
    None,
    /// `header`: from `proxy.identity.header_name`, in `mtls` mode, from a trusted proxy.
    Header,
}

/// `[proxy.identity]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// `proxy.identity.mode`. Default `none`.
    pub mode: IdentityMode,
    /// `proxy.identity.header_name`. Required in mode `header`.
    pub header_name: Option<String>,
    /// `proxy.identity.require_tls`. Default true.
    pub require_tls: bool,
}

/// `[proxy]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyConfig {
    /// `proxy.enabled`. Default false.
    pub enabled: bool,
    /// `proxy.forwarded_headers`. Default `none`.
    pub forwarded_headers: ForwardedHeaders,
    /// `proxy.trusted_proxies`: addresses or CIDR blocks. Required when enabled.
    pub trusted_proxies: Vec<IpNet>,
    /// `[proxy.identity]`
    pub identity: IdentityConfig,
}

impl ProxyConfig {
    /// The proxies that are believed; none unless `proxy.enabled`.
    #[must_use]
    pub fn trusted(&self) -> &[IpNet] {
        if self.enabled { &self.trusted_proxies } else { &[] }
    }
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self {
            mode: IdentityMode::None,
            header_name: None,
            require_tls: true,
        }
    }
}

section!(ProxyConfig {
    enabled,
    forwarded_headers,
    trusted_proxies,
    identity,
});
section!(IdentityConfig {
    mode,
    header_name,
    require_tls,
});
choices!(ForwardedHeaders {
    None = "none",
    XForwarded = "x-forwarded",
    Forwarded = "forwarded",
});
choices!(IdentityMode {
    None = "none",
    Header = "header",
});
