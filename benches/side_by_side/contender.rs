//! The measured servers, their start commands and their requests.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;

use crate::{
    client::{Connection, Request, TlsClient},
    credentials::{Credentials, TlsFiles},
    database::Cluster,
    work::{Outcome, failed},
};

/// A server to measure.
#[derive(Clone)]
pub struct Contender {
    pub name: String,
    binary: PathBuf,
    kind: Kind,
    tls: Option<Arc<TlsFiles>>,
    credentials: Option<Arc<Credentials>>,
}

#[derive(Clone)]
pub enum Kind {
    /// This project's server on a storage backend, with the gate on.
    Ours { mode: String },
    /// Several of this project's servers, with the gate on, on one database.
    Shared { database: Database, servers: usize },
    /// The crate `durable-streams` with its defaults: durable, without tokens.
    Official,
    /// A bare hyper server with canned responses: the cost of reads and SSE without a store. With
    /// credentials it verifies each token.
    Hyper,
    /// nginx with a static file of 1 KiB at this path.
    Nginx { file: String },
}

/// A PostgreSQL database.
#[derive(Clone)]
pub enum Database {
    /// This one, by its URL.
    Given(String),
    /// A new one in this program's own server.
    Own(Arc<Cluster>),
}

impl Database {
    /// The URL of a database to which the settings of a server can be checked.
    pub fn any_url(&self) -> String {
        match self {
            Self::Given(url) => url.clone(),
            Self::Own(cluster) => cluster.any_database(),
        }
    }
}

impl Contender {
    pub fn new(name: &str, binary: &Path, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            binary: binary.to_owned(),
            kind,
            tls: None,
            credentials: None,
        }
    }

    pub fn with_credentials(mut self, credentials: &Arc<Credentials>) -> Self {
        self.credentials = Some(Arc::clone(credentials));
        self
    }

    pub fn over_tls(mut self, files: &Arc<TlsFiles>) -> Self {
        self.tls = Some(Arc::clone(files));
        self
    }

    pub fn named(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    pub fn is_store(&self) -> bool {
        self.is_ours() || matches!(self.kind, Kind::Official)
    }

    pub fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours { .. } | Kind::Shared { .. })
    }

    /// How many processes it has.
    pub fn processes(&self) -> usize {
        match &self.kind {
            Kind::Shared { servers, .. } => *servers,
            _ => 1,
        }
    }

    /// Whether other contenders use its database too.
    pub fn has_given_database(&self) -> bool {
        matches!(
            &self.kind,
            Kind::Shared {
                database: Database::Given(_),
                ..
            }
        )
    }

    /// Its database server, if that is this program's own.
    pub fn own_database(&self) -> Option<Arc<Cluster>> {
        match &self.kind {
            Kind::Shared {
                database: Database::Own(cluster),
                ..
            } => Some(Arc::clone(cluster)),
            _ => None,
        }
    }

    /// The URL of the database for a start.
    pub fn database_url(&self) -> Option<String> {
        match &self.kind {
            Kind::Shared {
                database: Database::Own(cluster),
                ..
            } => Some(cluster.new_database()),
            Kind::Shared {
                database: Database::Given(url),
                ..
            } => Some(url.clone()),
            _ => None,
        }
    }

    /// Whether its streams are in its data directory and survive a restart.
    pub fn is_on_disk(&self) -> bool {
        match &self.kind {
            Kind::Ours { mode } => mode != "memory",
            Kind::Official => true,
            Kind::Shared { .. } | Kind::Hyper | Kind::Nginx { .. } => false,
        }
    }

    pub fn has_health_checks(&self) -> bool {
        self.is_ours() || matches!(self.kind, Kind::Hyper)
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_deref()
    }

    pub async fn connect(&self, address: SocketAddr) -> Outcome<Connection> {
        Connection::open(address, self.tls_client())
            .await
            .map_err(failed("connect"))
    }

    pub fn tls_client(&self) -> Option<&TlsClient> {
        self.tls.as_ref().map(|files| &files.client)
    }

    /// Arguments, environment and files of a server process. `url` is that of its database.
    pub fn configure(
        &self,
        command: &mut Command,
        address: SocketAddr,
        dir: &Path,
        url: Option<&str>,
    ) -> std::io::Result<()> {
        let port = address.port().to_string();
        match &self.kind {
            Kind::Ours { mode } => {
                self.configure_ours(command, address);
                command.env("DS_STORAGE__MODE", mode);
                if self.is_on_disk() {
                    command.env("DS_STORAGE__DATA_DIR", dir.join("data"));
                }
            }
            Kind::Shared { .. } => {
                self.configure_ours(command, address);
                command.env("DS_STORAGE__MODE", "postgres");
                command.env("DS_STORAGE__URL", url.unwrap_or_default());
            }
            Kind::Official => {
                command.args(["--host", "127.0.0.1", "--port", &port]);
                command.arg("--data-dir").arg(dir.join("data"));
            }
            Kind::Hyper => {
                command.args(["--reference-server", &port]);
                if let Some(tls) = &self.tls {
                    command.arg("--reference-cert").arg(&tls.certificate);
                    command.arg("--reference-key").arg(&tls.key);
                }
                if let Some(credentials) = &self.credentials {
                    command.arg("--reference-verify").arg(&credentials.verify_key);
                }
            }
            Kind::Nginx { file } => {
                let file = dir.join("static").join(file.trim_start_matches('/'));
                std::fs::create_dir_all(file.parent().unwrap_or(dir))?;
                std::fs::write(file, [b'x'; 1024])?;
                std::fs::write(dir.join("nginx.conf"), self.nginx_configuration(address))?;
                command.arg("-p").arg(dir).args(["-c", "nginx.conf", "-e", "stderr"]);
            }
        }
        Ok(())
    }

    fn configure_ours(&self, command: &mut Command, address: SocketAddr) {
        command
            .arg("serve")
            .env("DS_SERVER__BIND_ADDRESS", address.to_string())
            .env("DS_LIMITS__MAX_MEMORY_BYTES", "0")
            .env("DS_LIMITS__MAX_CONNECTIONS_PER_ADDRESS", "0")
            .env("DS_LIMITS__MAX_LIVE_READERS", "100000")
            .env("DS_LIMITS__MAX_LIVE_READERS_PER_ADDRESS", "0")
            .env("DS_LIMITS__MAX_LIVE_READERS_PER_PRINCIPAL", "0")
            .env("DS_LIMITS__MAX_STREAM_BYTES", "0");
        if let Some(credentials) = &self.credentials {
            command.env("DS_AUTH__VERIFY_KEY", &credentials.verify_key);
        }
        if let Some(tls) = &self.tls {
            command
                .env("DS_TRANSPORT__MODE", "tls")
                .env("DS_TRANSPORT__HTTP__VERSIONS", "http1,http2")
                .env("DS_TRANSPORT__TLS__ALPN_PROTOCOLS", "h2,http/1.1")
                .env("DS_TRANSPORT__TLS__CERT_PATH", &tls.certificate)
                .env("DS_TRANSPORT__TLS__KEY_PATH", &tls.key);
        }
    }

    /// A single process, so that its CPU clock covers all work.
    fn nginx_configuration(&self, address: SocketAddr) -> String {
        let tls = self.tls.as_ref().map_or_else(
            || ("", String::new()),
            |tls| {
                let files = format!(
                    "ssl_certificate {}; ssl_certificate_key {};",
                    tls.certificate.display(),
                    tls.key.display()
                );
                (" ssl http2", files)
            },
        );
        format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;
             events {{ worker_connections 4096; }}
             http {{
               access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
               default_type application/octet-stream;
               client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
               uwsgi_temp_path uwsgi; scgi_temp_path scgi;
               server {{
                 listen {address}{}; {} root static;
                 add_header Stream-Next-Offset 0_1; add_header Stream-Up-To-Date true;
               }}
             }}",
            tls.0, tls.1
        )
    }

    fn token(&self) -> Option<&str> {
        self.credentials.as_ref().map(|credentials| credentials.token.as_str())
    }

    fn request(
        &self,
        method: &'static str,
        path: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Request {
        if self.tls.is_some() {
            let mut request = http::Request::builder()
                .method(method)
                .uri(format!("https://localhost{path}"));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let body = Full::new(Bytes::copy_from_slice(body));
            return Request::Http2(Box::new(request.body(body).unwrap_or_default()));
        }
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        let mut header = |name: &str, value: &str| {
            for part in [name, ": ", value, "\r\n"] {
                request.push_str(part);
            }
        };
        if let Some(token) = token {
            header("Authorization", &format!("Bearer {token}"));
        }
        for (name, value) in headers {
            header(name, value);
        }
        if method != "GET" {
            header("Content-Length", &body.len().to_string());
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        Request::Http1(request)
    }

    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path, self.token(), &[], b"")
    }

    pub fn get_with_token(&self, path: &str, token: &str) -> Request {
        self.request("GET", path, Some(token), &[], b"")
    }

    pub fn create(&self, path: &str, content_type: &str) -> Request {
        self.request("PUT", path, self.token(), &[("Content-Type", content_type)], b"")
    }

    pub fn append(&self, path: &str, content_type: &str, body: &[u8]) -> Request {
        self.request("POST", path, self.token(), &[("Content-Type", content_type)], body)
    }

    /// An append by a producer (protocol section 5.2.1).
    pub fn append_as_producer(&self, path: &str, content_type: &str, sequence: u64, body: &[u8]) -> Request {
        let headers = [
            ("Content-Type", content_type),
            ("Producer-Id", "bench"),
            ("Producer-Epoch", "0"),
            ("Producer-Seq", &sequence.to_string()),
        ];
        self.request("POST", path, self.token(), &headers, body)
    }
}
