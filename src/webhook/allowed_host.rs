//! The entries of `webhooks.allowed_hosts`.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Host;

use crate::settings::{Kind, Refusal, Setting, Value, text::quote};

/// Hosts that webhooks may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum AllowedHost {
    /// This name, in lower case and ASCII. Its addresses may be private.
    Name(String),
    /// The names that end with this, which begins with a dot.
    Suffix(String),
    /// These addresses, whatever name has them.
    Network(IpNet),
}

/// Text that is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a host name, \"*.\" and a domain, an IP address or a CIDR block", quote(.0))]
pub struct AllowedHostError(String);

impl AllowedHost {
    /// Whether it names `host`, which is in lower case and ASCII.
    pub(super) fn names(&self, host: &str) -> bool {
        match self {
            Self::Name(name) => name == host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Self::Network(_) => false,
        }
    }

    /// Whether it covers `address`, which is canonical.
    pub(super) fn covers(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }

    /// Whether it is `address` and nothing else.
    pub(super) fn is_only(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if *network == IpNet::from(address))
    }
}

impl FromStr for AllowedHost {
    type Err = AllowedHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(Self::Network(IpNet::from(address.to_canonical())));
        }
        let refused = || AllowedHostError(text.to_owned());
        let (domain, suffix) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (text, false),
        };
        match Host::parse(domain.trim_end_matches('.')) {
            Ok(Host::Domain(name)) if !name.is_empty() && !name.contains('*') => Ok(if suffix {
                Self::Suffix(format!(".{name}"))
            } else {
                Self::Name(name)
            }),
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for AllowedHost {
    type Error = AllowedHostError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AllowedHost> for String {
    fn from(host: AllowedHost) -> Self {
        host.to_string()
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Self::Network(network) => write!(f, "{network}"),
        }
    }
}

impl Setting for AllowedHost {
    const KIND: Kind = Kind::Text;

    fn read(value: &Value) -> Result<Self, Vec<Refusal>> {
        let text = String::read(value)?;
        text.parse()
            .map_err(|error: AllowedHostError| vec![Refusal::malformed(error.to_string())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_in_one_form() {
        for (text, written) in [
            ("Hooks.Example.com", "hooks.example.com"),
            ("hooks.example.com.", "hooks.example.com"),
            ("*.Example.com", "*.example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("worker", "worker"),
            ("10.0.0.5", "10.0.0.5"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("[fd00::1]", "fd00::1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("fd00::/8", "fd00::/8"),
        ] {
            assert_eq!(text.parse::<AllowedHost>().unwrap().to_string(), written, "{text}");
        }
    }

    #[test]
    fn text_that_names_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "*.*.com",
            "a.*.com",
            "https://example.com",
            "example.com:443",
            "a b",
            "10.0.0.0/33",
            "user@example.com",
        ] {
            assert!(text.parse::<AllowedHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_suffix_names_what_is_below_it() {
        let suffix: AllowedHost = "*.example.com".parse().unwrap();
        assert!(suffix.names("a.example.com") && suffix.names("a.b.example.com"));
        assert!(!suffix.names("example.com") && !suffix.names("badexample.com") && !suffix.names(".example.com"));
    }
}
