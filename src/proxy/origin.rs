//! How and from where a client sent a request.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use http::{HeaderMap, HeaderValue, Uri, header};

/// A header that violates its grammar: none of it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The scheme between the client and the outermost proxy that we trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        if text.eq_ignore_ascii_case("https") {
            Ok(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Ok(Self::Http)
        } else {
            Err(Malformed)
        }
    }
}

/// A host with an optional port, fit for a URL: letters, digits, `.`, `-`, `_`, and
/// the brackets and colons of IPv6 and ports. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Host(HeaderValue);

impl Host {
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn new(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
        (!bytes.is_empty() && bytes.len() <= 261 && bytes.iter().all(fits)).then(|| Self(value.clone()))
    }

    /// The host in a request; a target in absolute form takes precedence over `Host` (RFC 9112,
    /// section 3.2.2).
    fn asked(target: &Uri, headers: &HeaderMap) -> Option<Self> {
        match target.authority() {
            Some(authority) => Self::parse(authority.as_str()).ok(),
            None => headers.get(header::HOST).and_then(Self::new),
        }
    }

    /// Whether it names the client's own machine or network, so that a URL with it cannot lead to a
    /// third party.
    fn is_local(&self) -> bool {
        if self.as_str().eq_ignore_ascii_case("localhost") {
            return true;
        }
        let host = host_of(self.as_str());
        let is_private = |ip: IpAddr| match ip.to_canonical() {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        };
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_private)
    }

    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let value = HeaderValue::from_str(text).map_err(|_| Malformed)?;
        Self::new(&value).ok_or(Malformed)
    }
}

/// The host without its port, and IPv6 without its brackets.
fn host_of(text: &str) -> &str {
    if let Some((ip, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return ip;
    }
    match text.split_once(':') {
        None => text,
        // More than one colon: an address without brackets, or nothing valid.
        Some((_, port)) if port.contains(':') && text.parse::<Ipv6Addr>().is_ok() => text,
        Some((host, _)) => host,
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Where a request was sent and by whom, as an extension of every request that passed
/// [`super::ProxyTrust`]. `Location` begins with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub scheme: Scheme,
    /// The host named by a trusted proxy.
    pub host: Option<Host>,
    /// `None` when the application is embedded in a server that does not tell.
    pub client_ip: Option<IpAddr>,
}

impl Origin {
    /// An origin that another server of ours has found out.
    #[must_use]
    pub fn told(https: bool, host: Option<&str>, client_ip: Option<IpAddr>) -> Self {
        Self {
            scheme: if https { Scheme::Https } else { Scheme::Http },
            host: host.and_then(|host| Host::parse(host).ok()),
            client_ip,
        }
    }

    /// `https://host` for a request with this target and these headers, with the host that a trusted
    /// proxy or the request names. For clients that are trusted to name this server.
    #[must_use]
    pub fn asked_url(&self, target: &Uri, headers: &HeaderMap) -> Option<String> {
        let host = self.host.clone().or_else(|| Host::asked(target, headers))?;
        Some(format!("{}://{}", self.scheme.as_str(), host.as_str()))
    }

    /// `https://host` for a request with this target and these headers: with the host named by a
    /// trusted proxy, or else by the request if it is local to the client. An empty string without
    /// one that fits in a URL, which makes a relative reference.
    #[must_use]
    pub fn base_url(&self, target: &Uri, headers: &HeaderMap) -> String {
        let asked = || Host::asked(target, headers).filter(Host::is_local);
        match self.host.clone().or_else(asked) {
            Some(host) => format!("{}://{}", self.scheme.as_str(), host.as_str()),
            None => String::new(),
        }
    }
}
