//! HAProxy, switched from one server to the next as kamal-proxy does it.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use super::super::support::{peers::Proxy, until};

/// The two places for servers. One has all new requests.
const PLACES: [&str; 2] = ["a", "b"];

pub struct Switch {
    proxy: Proxy,
    api: PathBuf,
    /// The place that has the new requests, and the server in it.
    current: usize,
    target: Option<SocketAddr>,
}

impl Switch {
    /// Without any server. Like kamal-proxy, it does not repeat a request.
    pub fn start(dir: &Path) -> Self {
        let mut api = PathBuf::new();
        let proxy = Proxy::haproxy_with(dir, |address, home| {
            api = home.join("api");
            format!(
                "global\n  maxconn 9900\n  stats socket {} level admin\n\
                 defaults\n  mode http\n  retries 0\n  option forwardfor\n  timeout connect 10s\n  \
                 timeout client 120s\n  timeout server 120s\n\
                 frontend edge\n  bind {address} backlog 8192\n  default_backend streams\n\
                 backend streams\n  server a 127.0.0.1:1 disabled\n  server b 127.0.0.1:1 disabled\n",
                api.display()
            )
        });
        until("the proxy's runtime API", || api.exists());
        Self {
            proxy,
            api,
            current: 0,
            target: None,
        }
    }

    /// The server that has the new requests.
    pub fn target(&self) -> Option<SocketAddr> {
        self.target
    }

    pub fn address(&self) -> SocketAddr {
        self.proxy.address
    }

    /// Sends all new requests to this server; those that the previous one has go on there.
    pub fn to(&mut self, server: SocketAddr) {
        let (previous, next) = (PLACES[self.current], PLACES[1 - self.current]);
        self.command(&format!(
            "set server streams/{next} addr 127.0.0.1 port {}; set server streams/{next} state ready; \
             set server streams/{previous} state drain",
            server.port()
        ));
        self.current = 1 - self.current;
        self.target = Some(server);
    }

    /// Cuts what the previous server still has.
    pub fn cut(&self) {
        let previous = PLACES[1 - self.current];
        self.command(&format!("shutdown sessions server streams/{previous}"));
    }

    fn command(&self, line: &str) {
        let mut api = UnixStream::connect(&self.api).unwrap();
        api.write_all(format!("{line}\n").as_bytes()).unwrap();
        let mut said = String::new();
        api.read_to_string(&mut said).unwrap();
        // It reports changes of addresses, and errors in the same form.
        for word in ["Unknown", "No such", "Invalid", "Require", "Permission"] {
            assert!(!said.contains(word), "{line}: {said}");
        }
    }
}
