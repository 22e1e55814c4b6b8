//! Which URLs and addresses webhooks may reach.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustls::pki_types::{DnsName, ServerName};
use url::{Host, Url};

use super::{
    AllowedHost, WebhooksConfig,
    addresses::{Purpose, purpose},
};

const MAX_URL_BYTES: usize = 2048;
/// Addresses of one host that a delivery tries.
const MAX_ADDRESSES: usize = 4;
/// Domains that exist in local networks alone (RFC 6761, RFC 6762, RFC 8375, RFC 9476), and the one
/// that ICANN reserved for private use.
const LOCAL_DOMAINS: [&str; 6] = ["localhost", "local", "internal", "home.arpa", "alt", "onion"];

/// Decides which receivers webhooks may reach: by the URL, and again by the address that is
/// connected to.
#[derive(Debug, Clone)]
pub struct TargetPolicy {
    allow_local_http: bool,
    allowed_hosts: Vec<AllowedHost>,
}

/// A URL that a [`TargetPolicy`] has accepted. Its addresses are checked when they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    url: Url,
    host: TargetHost,
}

/// The host of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetHost {
    /// In lower case and ASCII, without a final dot.
    Name(String),
    /// Canonical: never an IPv4-mapped address.
    Address(IpAddr),
    /// A host of the development exception, with its addresses.
    Local(Vec<IpAddr>),
}

/// An address that a [`TargetPolicy`] has accepted for a URL. Only these are connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CheckedAddress(SocketAddr);

/// Why a URL is refused. The messages continue a sentence that begins with its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is no URL.
    #[error("is not a valid URL: {0}")]
    Malformed(#[from] url::ParseError),
    /// Characters that parsers disagree about.
    #[error("contains spaces, control characters or backslashes")]
    Characters,
    /// It is too long.
    #[error("is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    /// Not `https`, and not covered by the development exception.
    #[error(
        "must begin with https:// (http://localhost and http://127.0.0.x are accepted where \
         webhooks.allow_local_http is set)"
    )]
    NotHttps,
    /// User name or password.
    #[error("contains a user name or password")]
    Credentials,
    /// A fragment, which is never sent.
    #[error("contains a fragment")]
    Fragment,
    /// A port of another protocol.
    #[error("has the port {0}, which belongs to another protocol: use 443, or one from 1024")]
    Port(u16),
    /// No host, or one that is no DNS name.
    #[error("has no valid host name")]
    Host,
    /// The name or address is not in the list.
    #[error("has a host that is not in webhooks.allowed_hosts")]
    NotListed,
    /// The name exists in local networks alone, and is not listed.
    #[error("has a host name of a local network, which is not in webhooks.allowed_hosts")]
    LocalName,
    /// The address is not one of a public host.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// An address that webhooks may not reach.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("leads to {address} ({purpose}), which is not in webhooks.allowed_hosts")]
pub struct AddressError {
    address: IpAddr,
    purpose: &'static str,
}

impl TargetPolicy {
    /// The policy of a configuration.
    #[must_use]
    pub fn new(config: &WebhooksConfig) -> Self {
        Self {
            allow_local_http: config.allow_local_http,
            allowed_hosts: config.allowed_hosts.clone(),
        }
    }

    /// Accepts or refuses a URL without resolving its host.
    ///
    /// # Errors
    /// [`TargetError`]: the reason.
    pub fn check(&self, text: &str) -> Result<WebhookUrl, TargetError> {
        if text.len() > MAX_URL_BYTES {
            return Err(TargetError::TooLong);
        }
        // The URL standard removes or replaces these, so other programs could see another URL.
        if text.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err(TargetError::Characters);
        }
        let mut url = Url::parse(text)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetError::Fragment);
        }
        let host = target_host(&url)?;
        if let TargetHost::Name(name) = &host {
            url.set_host(Some(name))?;
        }
        let host = match url.scheme() {
            "https" => host,
            "http" if self.allow_local_http => local_host(host)?,
            _ => return Err(TargetError::NotHttps),
        };
        match url.port_or_known_default() {
            Some(80 | 443 | 1024..) => {}
            port => return Err(TargetError::Port(port.unwrap_or_default())),
        }
        if url.scheme() == "https" {
            self.check_host(&host)?;
        }
        Ok(WebhookUrl { url, host })
    }

    fn check_host(&self, host: &TargetHost) -> Result<(), TargetError> {
        let name = match host {
            TargetHost::Address(address) => return Ok(self.check_address(host, *address)?),
            TargetHost::Local(_) => return Ok(()),
            TargetHost::Name(name) => name,
        };
        // Where networks are listed, the addresses decide.
        let may_pass = |allowed: &AllowedHost| allowed.names(name) || matches!(allowed, AllowedHost::Network(_));
        if self.allowed_hosts.iter().any(may_pass) {
            return Ok(());
        }
        if !self.allowed_hosts.is_empty() {
            return Err(TargetError::NotListed);
        }
        if is_local_name(name) {
            Err(TargetError::LocalName)
        } else {
            Ok(())
        }
    }

    /// Those of a host's addresses that a delivery may connect to, in their order.
    pub(super) fn check_addresses(
        &self,
        url: &WebhookUrl,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<Vec<CheckedAddress>, AddressError> {
        let port = url.port();
        let (mut checked, mut refused) = (Vec::new(), None);
        for address in addresses {
            match self.check_address(&url.host, address) {
                Ok(()) if checked.len() < MAX_ADDRESSES => {
                    checked.push(CheckedAddress(SocketAddr::new(address.to_canonical(), port)));
                }
                Ok(()) => {}
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) if checked.is_empty() => Err(error),
            _ => Ok(checked),
        }
    }

    fn check_address(&self, host: &TargetHost, address: IpAddr) -> Result<(), AddressError> {
        let address = address.to_canonical();
        let refuse = |purpose| Err(AddressError { address, purpose });
        if matches!(host, TargetHost::Local(_)) {
            let excepted = self.allow_local_http && address.is_loopback();
            return if excepted { Ok(()) } else { refuse("not local") };
        }
        let purpose = purpose(address);
        if purpose == Purpose::Metadata {
            // A network that happens to contain it does not count.
            let listed = self.allowed_hosts.iter().any(|allowed| allowed.is_only(address));
            return if listed { Ok(()) } else { refuse("a metadata service") };
        }
        if self.allowed_hosts.iter().any(|allowed| allowed.covers(address)) {
            return Ok(());
        }
        match purpose {
            Purpose::Public if self.allowed_hosts.is_empty() || self.lists_name(host) => Ok(()),
            Purpose::Public => refuse("not listed"),
            Purpose::Private(_) if self.lists_exact_name(host) => Ok(()),
            Purpose::Private(name) | Purpose::Special(name) => refuse(name),
            Purpose::Metadata => refuse("a metadata service"),
        }
    }

    fn lists_name(&self, host: &TargetHost) -> bool {
        matches!(host, TargetHost::Name(name) if self.allowed_hosts.iter().any(|allowed| allowed.names(name)))
    }

    /// Whoever may add names below a listed domain may not lead webhooks into a private network.
    fn lists_exact_name(&self, host: &TargetHost) -> bool {
        let TargetHost::Name(name) = host else { return false };
        self.allowed_hosts
            .iter()
            .any(|allowed| matches!(allowed, AllowedHost::Name(_)) && allowed.names(name))
    }
}

fn target_host(url: &Url) -> Result<TargetHost, TargetError> {
    match url.host().ok_or(TargetError::Host)? {
        Host::Ipv4(address) => Ok(TargetHost::Address(address.into())),
        Host::Ipv6(address) => Ok(TargetHost::Address(IpAddr::V6(address).to_canonical())),
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            let is_valid = !name.ends_with('.') && DnsName::try_from(name.as_str()).is_ok();
            if is_valid {
                Ok(TargetHost::Name(name))
            } else {
                Err(TargetError::Host)
            }
        }
    }
}

/// The hosts of the development exception, as section 6.2 of the protocol names them.
fn local_host(host: TargetHost) -> Result<TargetHost, TargetError> {
    match host {
        // RFC 6761: `localhost` is never asked of a resolver.
        TargetHost::Name(name) if name == "localhost" => Ok(TargetHost::Local(vec![
            Ipv4Addr::LOCALHOST.into(),
            Ipv6Addr::LOCALHOST.into(),
        ])),
        TargetHost::Address(IpAddr::V4(address)) if matches!(address.octets(), [127, 0, 0, _]) => {
            Ok(TargetHost::Local(vec![address.into()]))
        }
        _ => Err(TargetError::NotHttps),
    }
}

fn is_local_name(name: &str) -> bool {
    let is_within = |domain: &str| {
        name.strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !name.contains('.') || LOCAL_DOMAINS.into_iter().any(is_within)
}

impl WebhookUrl {
    /// The URL in the standard's normal form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub(super) fn host(&self) -> &TargetHost {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// The host as deliveries count it.
    pub(super) fn host_text(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The value of `Host`.
    pub(super) fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host_text()),
            None => self.host_text().to_owned(),
        }
    }

    /// The request's target.
    pub(super) fn path_and_query(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// The name in the receiver's certificate; `None` without TLS.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        match &self.host {
            TargetHost::Name(name) => ServerName::try_from(name.clone()).ok(),
            TargetHost::Address(address) => Some(ServerName::IpAddress((*address).into())),
            TargetHost::Local(_) => None,
        }
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CheckedAddress {
    pub(super) fn socket(self) -> SocketAddr {
        self.0
    }
}
