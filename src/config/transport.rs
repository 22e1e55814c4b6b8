use std::path::PathBuf;

use super::{
    problem::Refusal,
    schema::{Scalar, choices, choose, section},
    value::Data,
};

/// `transport.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransportMode {
    /// `http`: plain HTTP/1.1.
    #[default]
    Http,
    /// `tls`: TLS with the server's certificate.
    Tls,
    /// `mtls`: TLS, and the client shows a certificate too.
    Mtls,
}

/// An entry of `transport.http.versions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// `http1`
    Http1,
    /// `http2`
    Http2,
}

/// `[transport.http]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpVersions {
    /// `transport.http.versions`. Default `["http1"]`.
    pub versions: Vec<HttpVersion>,
}

/// `transport.tls.min_version` and `max_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `1.2`
    Tls12,
    /// `1.3`
    Tls13,
}

/// `[transport.tls]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// `transport.tls.cert_path`: the certificate chain, PEM. Required in `tls` and `mtls`.
    pub cert_path: Option<PathBuf>,
    /// `transport.tls.key_path`: its private key, PEM.
    pub key_path: Option<PathBuf>,
    /// `transport.tls.client_ca_path`: the CAs that sign client certificates. Required in `mtls`.
    pub client_ca_path: Option<PathBuf>,
    /// `transport.tls.min_version`. Default `1.2`.
    pub min_version: TlsVersion,
    /// `transport.tls.max_version`. Default `1.3`.
    pub max_version: TlsVersion,
    /// `transport.tls.alpn_protocols`. Default `["http/1.1"]`.
    pub alpn_protocols: Vec<String>,
    /// `transport.tls.reload_secs`: how often the files are looked at for changes. Default 5.
    pub reload_secs: u64,
}

/// `[transport.connection]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// `transport.connection.long_poll_timeout_secs`. Default 30.
    pub long_poll_timeout_secs: u64,
    /// `transport.connection.sse_reconnect_interval_secs`: an SSE read is ended after about
    /// this long, so that CDNs can collapse readers (section 10.2). Default 60; 0: never.
    pub sse_reconnect_interval_secs: u64,
    /// `transport.connection.header_timeout_secs`: for a request's head, and for the first request
    /// of a connection. Default 30.
    pub header_timeout_secs: u64,
    /// `transport.connection.idle_timeout_secs`: for the next request on a connection that has
    /// served one. More than proxies keep their connections idle (nginx: 60). Default 75.
    pub idle_timeout_secs: u64,
    /// `transport.connection.body_timeout_secs`: for the next piece of a request body. Default 30.
    pub body_timeout_secs: u64,
    /// `transport.connection.body_total_timeout_secs`: for a whole request body. Default 900.
    pub body_total_timeout_secs: u64,
    /// `transport.connection.write_timeout_secs`: a reader that takes nothing for this long is
    /// dropped. Default 30.
    pub write_timeout_secs: u64,
    /// `transport.connection.handshake_timeout_secs`: for a TLS handshake. Default 10.
    pub handshake_timeout_secs: u64,
    /// `transport.connection.sse_heartbeat_secs`: a comment on an idle SSE read. Default 15.
    pub sse_heartbeat_secs: u64,
}

/// `[transport.acme]`: automatic HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeConfig {
    /// `transport.acme.domain` (the Rails form's `domain` without `tls`): the host to get a
    /// certificate for. Absent: no automatic HTTPS.
    pub domain: Option<String>,
    /// `transport.acme.contact`: mail addresses for the account, without `mailto:`.
    pub contact: Vec<String>,
    /// `transport.acme.directory_url`. Default: Let's Encrypt's production directory.
    pub directory_url: String,
    /// `transport.acme.root_ca_path`: a PEM file to trust the directory by; default: the web's roots.
    pub root_ca_path: Option<PathBuf>,
    /// `transport.acme.cache_dir`: for the account and certificates. Default: `acme` under `storage.data_dir`.
    pub cache_dir: Option<PathBuf>,
}

/// `[transport]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransportConfig {
    /// `transport.mode`. Default `http`.
    pub mode: TransportMode,
    /// `[transport.http]`
    pub http: HttpVersions,
    /// `[transport.tls]`
    pub tls: TlsConfig,
    /// `[transport.connection]`
    pub connection: ConnectionConfig,
    /// `[transport.acme]`
    pub acme: AcmeConfig,
}

impl Default for HttpVersions {
    fn default() -> Self {
        Self {
            versions: vec![HttpVersion::Http1],
        }
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert_path: None,
            key_path: None,
            client_ca_path: None,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            alpn_protocols: vec!["http/1.1".into()],
            reload_secs: 5,
        }
    }
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            long_poll_timeout_secs: 30,
            sse_reconnect_interval_secs: 60,
            header_timeout_secs: 30,
            idle_timeout_secs: 75,
            body_timeout_secs: 30,
            body_total_timeout_secs: 900,
            write_timeout_secs: 30,
            handshake_timeout_secs: 10,
            sse_heartbeat_secs: 15,
        }
    }
}

impl Default for AcmeConfig {
    fn default() -> Self {
        Self {
            domain: None,
            contact: Vec::new(),
            directory_url: "https://acme-v02.api.letsencrypt.org/directory".into(),
            root_ca_path: None,
            cache_dir: None,
        }
    }
}

section!(TransportConfig {
    mode,
    http,
    tls,
    connection,
    acme,
});
section!(HttpVersions { versions });
section!(TlsConfig {
    cert_path,
    key_path,
    client_ca_path,
    min_version,
    max_version,
    alpn_protocols,
    reload_secs,
});
section!(ConnectionConfig {
    long_poll_timeout_secs,
    sse_reconnect_interval_secs,
    header_timeout_secs,
    idle_timeout_secs,
    body_timeout_secs,
    body_total_timeout_secs,
    write_timeout_secs,
    handshake_timeout_secs,
    sse_heartbeat_secs,
});
section!(AcmeConfig {
    domain,
    contact,
    directory_url,
    root_ca_path,
    cache_dir,
});
choices!(TransportMode {
    Http = "http",
    Tls = "tls",
    Mtls = "mtls",
});
choices!(TlsVersion {
    Tls12 = "1.2",
    Tls13 = "1.3",
});

impl Scalar for HttpVersion {
    fn read(data: &Data) -> Result<Self, Refusal> {
        // Known by name, so that it is not answered like a typing error.
        if data.as_text() == Some("http3") {
            return Err(Refusal::unsupported(
                "http3 is not implemented; http1 and http2 are".into(),
            ));
        }
        choose(data, &[("http1", Self::Http1), ("http2", Self::Http2)])
    }

    fn show(&self) -> String {
        match self {
            Self::Http1 => "\"http1\"".into(),
            Self::Http2 => "\"http2\"".into(),
        }
    }
}
