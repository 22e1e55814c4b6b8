use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::ConnectInfo;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use ipnet::IpNet;

use super::identity::Handoff;
use super::{Claims, Host, Malformed, Origin, Scheme, forwarded, x_forwarded};
use super::{ForwardedHeaders, ProxyConfig};
use crate::listener::{PeerAddr, TlsInfo, TransportMode, contains};

/// Which proxies are believed, and what of theirs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProxyTrust(Arc<Policy>);

#[derive(Debug)]
struct Policy {
    /// What a trusted proxy sends; `None` with proxies disabled.
    kind: ForwardedHeaders,
    /// Empty with proxies disabled.
    trusted: Vec<IpNet>,
    identity: Option<Handoff>,
}

impl ProxyTrust {
    /// What `[proxy]` says; `transport` is the public listener's mode.
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
            identity: Handoff::new(&config.identity, transport),
        }))
    }

    /// Puts this in front of an application, such as an `axum::Router`.
    #[must_use]
    pub fn wrap<S>(&self, inner: S) -> Trusted<S> {
        Trusted {
            inner,
            trust: self.clone(),
        }
    }

    /// Settles a request's [`Origin`] and takes out what may not be believed further on.
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
            host: claims.host.or_else(|| host(request).filter(Host::is_local)),
            client_ip: claims.client_ip.or(peer),
        };
        let headers = request.headers_mut();
        strip(headers);
        let identity = policy
            .identity
            .as_ref()
            .and_then(|handoff| handoff.take(headers, trusted, tls));
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
            tracing::debug!("malformed forwarding headers from a trusted proxy: ignored");
            Claims::default()
        })
    }
}

/// The TCP peer, from our own listener or from a server that we are embedded in.
fn peer<B>(request: &Request<B>) -> Option<IpAddr> {
    let extensions = request.extensions();
    let address = match extensions.get::<PeerAddr>() {
        Some(peer) => Some(peer.0),
        None => extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0),
    };
    address.map(|address| address.ip().to_canonical())
}

/// The host that the request itself names; a target in absolute form outdoes `Host`
/// (RFC 9112, section 3.2.2).
fn host<B>(request: &Request<B>) -> Option<Host> {
    match request.uri().authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str())
            .ok()
            .and_then(|value| Host::new(&value)),
        None => request.headers().get(header::HOST).and_then(Host::new),
    }
}

/// Takes out every forwarding header there is: what was to be believed of them is in the
/// [`Origin`]. One look at each name, for requests that have none of them.
fn strip(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| is_forwarding(name)).cloned() {
        headers.remove(name);
    }
}

pub(crate) fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded") || name == "forwarded" || name == "x-real-ip"
}

/// An application behind a [`ProxyTrust`].
#[derive(Debug, Clone)]
pub struct Trusted<S> {
    inner: S,
    trust: ProxyTrust,
}

impl<S, B> tower::Service<Request<B>> for Trusted<S>
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
