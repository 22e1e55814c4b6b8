//! Who is measured, and how each is started.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

/// A server to measure.
#[derive(Clone)]
pub struct Contender {
    pub name: &'static str,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    /// This project's server on a storage backend, its gate on.
    Ours {
        binary: PathBuf,
        mode: &'static str,
        verify_key: PathBuf,
        token: String,
    },
    /// The crate `durable-streams` with its own defaults, which are durable.
    Official { binary: PathBuf },
    /// A bare hyper server with canned answers: what reads and SSE cost without a store.
    Hyper { binary: PathBuf },
}

impl Contender {
    pub fn ours(name: &'static str, mode: &'static str, binary: &Path, verify_key: &Path, token: &str) -> Self {
        let kind = Kind::Ours {
            binary: binary.to_owned(),
            mode,
            verify_key: verify_key.to_owned(),
            token: token.to_owned(),
        };
        Self { name, kind }
    }

    pub fn official(name: &'static str, binary: &Path) -> Self {
        let binary = binary.to_owned();
        Self {
            name,
            kind: Kind::Official { binary },
        }
    }

    pub fn hyper(binary: &Path) -> Self {
        let binary = binary.to_owned();
        Self {
            name: "hyper",
            kind: Kind::Hyper { binary },
        }
    }

    /// Whether it keeps streams; the bare hyper server does not.
    pub fn is_store(&self) -> bool {
        !matches!(self.kind, Kind::Hyper { .. })
    }

    pub fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours { .. })
    }

    /// Whether its streams are there after a restart.
    pub fn is_persistent(&self) -> bool {
        match &self.kind {
            Kind::Ours { mode, .. } => *mode != "memory",
            Kind::Official { .. } => true,
            Kind::Hyper { .. } => false,
        }
    }

    pub fn has_health_checks(&self) -> bool {
        !matches!(self.kind, Kind::Official { .. })
    }

    pub fn binary(&self) -> &Path {
        match &self.kind {
            Kind::Ours { binary, .. } | Kind::Official { binary } | Kind::Hyper { binary } => binary,
        }
    }

    pub fn configure(&self, command: &mut Command, address: SocketAddr, dir: &Path) {
        let data = dir.join("data");
        match &self.kind {
            Kind::Ours { mode, verify_key, .. } => {
                command
                    .arg("serve")
                    .env("DS_SERVER__BIND_ADDRESS", address.to_string())
                    .env("DS_STORAGE__MODE", mode)
                    .env("DS_AUTH__VERIFY_KEY", verify_key)
                    .env("DS_LIMITS__MAX_MEMORY_BYTES", "0")
                    .env("DS_LIMITS__MAX_CONNECTIONS_PER_ADDRESS", "0")
                    .env("DS_LIMITS__MAX_LIVE_READERS_PER_ADDRESS", "0")
                    .env("DS_LIMITS__MAX_LIVE_READERS_PER_PRINCIPAL", "0")
                    .env("DS_LIMITS__MAX_STREAM_BYTES", "0");
                if self.is_persistent() {
                    command.env("DS_STORAGE__DATA_DIR", data);
                }
            }
            Kind::Official { .. } => {
                command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
                command.arg("--data-dir").arg(data);
            }
            Kind::Hyper { .. } => {
                command.args(["--reference-server", &address.port().to_string()]);
            }
        }
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let authorization = match &self.kind {
            Kind::Ours { token, .. } => format!("Authorization: Bearer {token}\r\n"),
            Kind::Official { .. } | Kind::Hyper { .. } => String::new(),
        };
        let length = match method {
            "GET" => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}{headers}{length}\r\n").into_bytes();
        request.extend_from_slice(body);
        request
    }

    pub fn get(&self, path: &str) -> Vec<u8> {
        self.request("GET", path, "", b"")
    }

    pub fn create(&self, path: &str, content_type: &str) -> Vec<u8> {
        self.request("PUT", path, &format!("Content-Type: {content_type}\r\n"), b"")
    }

    pub fn append(&self, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
        self.request("POST", path, &format!("Content-Type: {content_type}\r\n"), body)
    }
}
