//! Listening sockets from systemd (sd_listen_fds(3)), which stay open while the server restarts.

use std::{io, net::TcpListener};

use listenfd::ListenFd;

/// Why the sockets cannot be used; the `[bind_listener]` phase.
#[derive(Debug, thiserror::Error)]
pub(super) enum InheritedError {
    #[error("the socket {name:?} from systemd is not a TCP listener: {source}")]
    Unusable { name: String, source: io::Error },
    #[error("there are two sockets named {name:?} from systemd")]
    Duplicate { name: String },
    #[error(
        "the socket {name:?} from systemd belongs to no listener: \
         its FileDescriptorName must be \"public\", or \"internal\" if there is an [internal] section"
    )]
    Unknown { name: String },
}

/// The sockets that systemd has passed.
#[derive(Debug, Default)]
pub(super) struct InheritedSockets {
    named: Vec<(String, TcpListener)>,
}

impl InheritedSockets {
    /// Reads `LISTEN_FDS` and `LISTEN_FDNAMES`. Variables for another process are ignored.
    pub(super) fn from_env() -> Result<Self, InheritedError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut passed = ListenFd::from_env();
        let mut named: Vec<(String, TcpListener)> = Vec::new();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            match passed.take_tcp_listener(index) {
                Ok(_) if named.iter().any(|(other, _)| *other == name) => {
                    return Err(InheritedError::Duplicate { name });
                }
                Ok(Some(socket)) => named.push((name, socket)),
                Ok(None) => {}
                Err(source) => return Err(InheritedError::Unusable { name, source }),
            }
        }
        // Without FileDescriptorName the name is that of the unit.
        if let [(name, _)] = named.as_mut_slice()
            && name != "internal"
        {
            *name = "public".to_owned();
        }
        Ok(Self { named })
    }

    pub(super) fn take(&mut self, listener: &str) -> Option<TcpListener> {
        let index = self.named.iter().position(|(name, _)| name == listener)?;
        Some(self.named.swap_remove(index).1)
    }

    /// Refuses sockets that nobody has taken: clients would wait for an answer.
    pub(super) fn finish(self) -> Result<(), InheritedError> {
        match self.named.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => Err(InheritedError::Unknown { name }),
        }
    }
}
