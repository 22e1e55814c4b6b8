use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections the kernel may hold that nobody has accepted yet. The kernel caps it at
/// `net.core.somaxconn`; a deploy or a network hiccup brings all readers back at once.
const BACKLOG: i32 = 4096;

/// Why a listener could not be opened; the `[bind_listener]` phase.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process listens there.
    #[error("cannot listen on {address}: the address is already in use")]
    InUse {
        /// What was to be bound.
        address: SocketAddr,
    },
    /// A port below 1024 without the right to it.
    #[error(
        "cannot listen on {address}: no permission for this port (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
    )]
    NoPermission {
        /// What was to be bound.
        address: SocketAddr,
    },
    /// The address belongs to no interface of this machine.
    #[error("cannot listen on {address}: this machine has no such address")]
    NotAvailable {
        /// What was to be bound.
        address: SocketAddr,
    },
    /// Anything else, in the words of the operating system.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// What was to be bound.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::AddrInUse => Self::InUse { address },
            ErrorKind::PermissionDenied => Self::NoPermission { address },
            ErrorKind::AddrNotAvailable => Self::NotAvailable { address },
            _ => Self::Other { address, source },
        }
    }
}

/// A bound socket that nobody accepts from yet: binding is a start-up phase of its own, so
/// that every address is known to be ours before anything is served.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`. `unacknowledged` is how long sent bytes may stay unacknowledged before
    /// the kernel gives a peer up (RFC 5482): it is what ends a connection to a machine that
    /// vanished, where no write ever blocks.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`] says in one line what is in the way.
    pub fn bind(address: SocketAddr, unacknowledged: Duration) -> Result<Self, BindError> {
        open(address, unacknowledged)
            .and_then(|socket| {
                // With port 0 the kernel picks one; callers want to know which.
                let address = socket.local_addr()?;
                Ok(Self { socket, address })
            })
            .map_err(|source| BindError::new(address, source))
    }

    /// The address that is listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn open(address: SocketAddr, unacknowledged: Duration) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `::` listens on IPv4 too, whatever the machine's default says.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait for the old connections' TIME_WAIT.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit both on Linux: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(unacknowledged))?;
    #[cfg(not(target_os = "linux"))]
    let _ = unacknowledged;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
