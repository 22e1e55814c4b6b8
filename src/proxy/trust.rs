//! Decides which forwarding headers to believe.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use axum::extract::ConnectInfo;
use http::{HeaderMap, HeaderName, Request};
use ipnet::IpNet;

use super::{
    chain::Claims,
    forwarded,
    identity::IdentityHeader,
    origin::{Malformed, Origin, Scheme},
    x_forwarded,
};
use crate::{
    listener::TransportMode,
    listener::{PeerAddr, TlsInfo, contains},
    proxy::{ForwardedHeaders, ProxyConfig},
};

/// Which proxies are trusted, and with which headers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProxyTrust(Arc<Policy>);

#[derive(Debug)]
struct Policy {
    /// The headers of trusted proxies; `ForwardedHeaders::None` without proxies.
    kind: ForwardedHeaders,
    /// Empty without proxies.
    trusted: Vec<IpNet>,
    identity: Option<IdentityHeader>,
}

impl ProxyTrust {
    /// `transport` is the public listener's mode.
    #[must_use]
    pub fn new(config: &ProxyConfig, transport: TransportMode) -> Self {
        let (kind, trusted) = if config.enabled {
            (config.forwarded_headers, config.trusted_proxies.clone())
        } else {
            (ForwardedHeaders::None, Vec::new())
        };
        Self(Arc::new(Policy {
            kind,
            trusted,
            identity: IdentityHeader::new(&config.identity, transport),
        }))
    }

    /// Wraps an application, such as an `axum::Router`.
    #[must_use]
    pub fn wrap<S>(&self, inner: S) -> ProxyTrustService<S> {
        ProxyTrustService {
            inner,
            trust: self.clone(),
        }
    }

    /// Adds the [`Origin`] to a request and removes all headers that cannot be trusted.
    pub fn apply<B>(&self, request: &mut Request<B>) {
        let policy = &*self.0;
        let tls = request.extensions().get::<TlsInfo>().copied();
        let peer = peer(request);
        let trusted = peer.is_some_and(|peer| contains(&policy.trusted, peer));
        let claims = if trusted {
            policy.claims(request.headers())
        } else {
            Claims::default()
        };
        let scheme = claims.scheme.unwrap_or(match tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        });
        let origin = Origin {
            scheme,
            host: claims.host,
            client_ip: claims.client_ip.or(peer),
        };
        let headers = request.headers_mut();
        strip(headers);
        let identity = policy
            .identity
            .as_ref()
            .and_then(|header| header.trusted_or_removed(headers, trusted, tls));
        let extensions = request.extensions_mut();
        extensions.insert(origin);
        if let Some(identity) = identity {
            extensions.insert(identity);
        }
    }
}

impl Policy {
    fn claims(&self, headers: &HeaderMap) -> Claims {
        let claims = match self.kind {
            ForwardedHeaders::None => Ok(Claims::default()),
            ForwardedHeaders::XForwarded => x_forwarded::claims(headers, &self.trusted),
            ForwardedHeaders::Forwarded => forwarded::claims(headers, &self.trusted),
        };
        claims.unwrap_or_else(|Malformed| {
            tracing::debug!("ignored malformed forwarding headers from a trusted proxy");
            Claims::default()
        })
    }
}

/// The TCP peer, from our own listener or from the embedding server.
fn peer<B>(request: &Request<B>) -> Option<IpAddr> {
    let extensions = request.extensions();
    let address = match extensions.get::<PeerAddr>() {
        Some(peer) => Some(peer.0),
        None => extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
    };
    address.map(|address| address.ip().to_canonical())
}

/// Removes every forwarding header. A request without one costs a single pass over its names.
fn strip(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_forwarding(name)).cloned() {
        headers.remove(name);
    }
}

pub(crate) fn is_forwarding(name: &HeaderName) -> bool {
    match name.as_str().as_bytes() {
        [b'x', b'-', rest @ ..] => rest.starts_with(b"forwarded") || rest == b"real-ip",
        name => name == b"forwarded",
    }
}

/// An application that gets its requests through a [`ProxyTrust`].
#[derive(Debug, Clone)]
pub struct ProxyTrustService<S> {
    inner: S,
    trust: ProxyTrust,
}

impl<S, B> tower::Service<Request<B>> for ProxyTrustService<S>
where
    S: tower::Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        self.trust.apply(&mut request);
        self.inner.call(request)
    }
}
