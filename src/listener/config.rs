//! `[server]`, `[internal]` and `[transport]`: where the server listens, and how it speaks.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use crate::settings::{choices, section};

/// More seconds than this are likely to be milliseconds.
const MAX_TIMEOUT_SECS: u64 = 86_400;

section! {
    /// The public listener.
    pub struct ServerConfig {
        /// Address of the public listener. The port is that of section 13.1 of the protocol.
        bind_address: SocketAddr = SocketAddr::from(([0, 0, 0, 0], 4437));
        /// How long a stop waits for requests in flight.
        drain_timeout_secs: u64 = 25, { max: MAX_TIMEOUT_SECS };
    }
}

section! {
    /// A plain-HTTP listener for the app servers. Absent by default.
    pub struct InternalConfig {
        /// Address to listen on.
        bind: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        /// Port to listen on.
        port: u16 = 4438;
        /// Addresses or CIDR blocks of the peers that may connect. Required; compared with the TCP
        /// peer, never with a header.
        allowed_ips: Vec<IpNet> = Vec::new(), { example: "[\"10.0.0.4\"]" };
    }
}

impl InternalConfig {
    /// The address to listen on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}

section! {
    /// How the public listener speaks.
    pub struct TransportConfig {
        /// Plain HTTP/1.1, TLS, or TLS with client certificates.
        mode: TransportMode = TransportMode::Http, { never_empty: true };
    }
    sections {
        /// HTTP versions.
        http: HttpVersions,
        /// Certificates.
        tls: TlsConfig,
        /// Timeouts of connections.
        connection: ConnectionConfig,
        /// Automatic HTTPS.
        acme: AcmeConfig,
    }
}

choices! {
    /// `transport.mode`
    #[derive(Default)]
    pub enum TransportMode {
        /// Plain HTTP/1.1.
        #[default]
        Http = "http",
        /// TLS with the server's certificate.
        Tls = "tls",
        /// TLS with certificates on both sides.
        Mtls = "mtls",
    }
}

section! {
    /// HTTP versions.
    pub struct HttpVersions {
        /// HTTP versions to speak; http2 needs `transport.mode` tls or mtls.
        versions: Vec<HttpVersion> = vec![HttpVersion::Http1];
    }
}

choices! {
    /// An entry of `transport.http.versions`.
    pub enum HttpVersion {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2, over TLS.
        Http2 = "http2",
    }
    refused {
        "http3" = "http3 is not implemented; http1 and http2 are",
    }
}

section! {
    /// Certificates of the public listener.
    pub struct TlsConfig {
        /// Certificate chain, PEM. Required in tls and mtls, unless `transport.acme.domain` is set.
        cert_path: Option<PathBuf> = None, { rails: "tls.cert", example: "\"/etc/durable-streams/tls/server.crt\"" };
        /// Private key of the certificate, PEM. Required in tls and mtls, unless
        /// `transport.acme.domain` is set.
        key_path: Option<PathBuf> = None, { rails: "tls.key", example: "\"/etc/durable-streams/tls/server.key\"" };
        /// CAs that sign client certificates, PEM. Required in mtls.
        client_ca_path: Option<PathBuf> = None, { example: "\"/etc/durable-streams/tls/client-ca.crt\"" };
        /// Oldest TLS version.
        min_version: TlsVersion = TlsVersion::Tls12;
        /// Newest TLS version.
        max_version: TlsVersion = TlsVersion::Tls13;
        /// ALPN names to offer: "http/1.1" for http1 and "h2" for http2.
        alpn_protocols: Vec<String> = vec!["http/1.1".into()];
        /// How often the files are checked for changes.
        reload_secs: u64 = 5, { min: 1 };
    }
}

choices! {
    /// `transport.tls.min_version` and `max_version`
    #[derive(PartialOrd, Ord)]
    pub enum TlsVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
}

section! {
    /// Timeouts of connections.
    pub struct ConnectionConfig {
        /// How long a long-poll waits for data.
        long_poll_timeout_secs: u64 = 30, { min: 1, max: MAX_TIMEOUT_SECS, rails: "storage.long_poll_timeout" };
        /// An SSE read ends after about this long, so that CDNs can collapse readers (section 10.2
        /// of the protocol). 0: never.
        sse_reconnect_interval_secs: u64 = 60, { max: MAX_TIMEOUT_SECS, rails: "storage.sse_reconnect_interval" };
        /// Timeout of a request's head, and of a connection's first request.
        header_timeout_secs: u64 = 30, { min: 1, max: MAX_TIMEOUT_SECS };
        /// Timeout of the next request on a connection. Longer than proxies keep connections idle
        /// (nginx: 60).
        idle_timeout_secs: u64 = 75, { min: 1, max: MAX_TIMEOUT_SECS };
        /// Timeout of the next piece of a request body.
        body_timeout_secs: u64 = 30, { min: 1, max: MAX_TIMEOUT_SECS };
        /// Timeout of a whole request body.
        body_total_timeout_secs: u64 = 900, { min: 1, max: MAX_TIMEOUT_SECS };
        /// A reader that takes nothing for this long is disconnected.
        write_timeout_secs: u64 = 30, { min: 1, max: MAX_TIMEOUT_SECS };
        /// Timeout of a TLS handshake.
        handshake_timeout_secs: u64 = 10, { min: 1, max: MAX_TIMEOUT_SECS };
        /// Interval of comments on an idle SSE read.
        sse_heartbeat_secs: u64 = 15, { min: 1, max: MAX_TIMEOUT_SECS };
    }
}

impl TlsConfig {
    /// `reload_secs`
    pub(super) fn reload_interval(&self) -> Duration {
        Duration::from_secs(self.reload_secs.max(1))
    }
}

impl ConnectionConfig {
    /// `long_poll_timeout_secs`
    pub(crate) fn long_poll_timeout(&self) -> Duration {
        Duration::from_secs(self.long_poll_timeout_secs)
    }

    /// `sse_reconnect_interval_secs`; `None`: SSE reads do not end by time.
    pub(crate) fn sse_reconnect_interval(&self) -> Option<Duration> {
        let secs = self.sse_reconnect_interval_secs;
        (secs > 0).then(|| Duration::from_secs(secs))
    }

    /// `sse_heartbeat_secs`
    pub(crate) fn sse_heartbeat(&self) -> Duration {
        Duration::from_secs(self.sse_heartbeat_secs.max(1))
    }

    /// `body_timeout_secs`
    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_secs)
    }

    /// `body_total_timeout_secs`
    pub(crate) fn body_total_timeout(&self) -> Duration {
        Duration::from_secs(self.body_total_timeout_secs)
    }

    /// `header_timeout_secs`
    pub(super) fn header_timeout(&self) -> Duration {
        Duration::from_secs(self.header_timeout_secs)
    }

    /// `idle_timeout_secs`
    pub(super) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_secs)
    }

    /// `write_timeout_secs`
    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_secs(self.write_timeout_secs)
    }

    /// `handshake_timeout_secs`
    pub(super) fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(self.handshake_timeout_secs)
    }
}

section! {
    /// Automatic HTTPS (ACME).
    pub struct AcmeConfig {
        /// Host name to get a certificate for; needs `transport.mode = "tls"`. The Rails form's
        /// `domain` without `tls` sets it.
        domain: Option<String> = None, { example: "\"streams.example.com\"" };
        /// Mail addresses for the account, without `mailto:`.
        contact: Vec<String> = Vec::new();
        /// ACME directory.
        directory_url: String = "https://acme-v02.api.letsencrypt.org/directory".into();
        /// CA to trust the directory by, PEM.
        root_ca_path: Option<PathBuf> = None, { example: "\"/etc/durable-streams/tls/acme-ca.crt\"", derived: "the web's roots" };
        /// Directory of the account and the certificates.
        cache_dir: Option<PathBuf> = None, { example: "\"./data/streams/acme\"", derived: "\"acme\" in storage.data_dir" };
    }
}
