//! The client's address behind proxies.
//!
//! A forwarding header is a claim by its sender. It is believed only from a TCP peer in
//! `proxy.trusted_proxies` and only in the configured form. It is read from the right, where the
//! nearest proxy wrote, up to the first address that is not a trusted proxy. The result is an
//! [`Origin`]; the headers themselves are always removed.

mod chain;
mod config;
mod forwarded;
mod identity;
mod origin;
mod trust;
mod x_forwarded;

#[cfg(test)]
mod tests;

pub use config::{ForwardedHeaders, IdentityConfig, IdentityMode, ProxyConfig};
pub use identity::ProxyIdentity;
pub use origin::{Origin, Scheme};
pub use trust::ProxyTrust;
pub(crate) use trust::is_forwarding;
