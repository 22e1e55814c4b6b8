//! Binds listening sockets.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel may complete before they are accepted; it caps this at
/// `net.core.somaxconn`. After a deploy or a network hiccup all readers reconnect at once.
const BACKLOG: i32 = 4096;

/// Why a listener could not be opened; the `[bind_listener]` phase.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("cannot listen on {address}: the address is already in use")]
    InUse { address: SocketAddr, source: io::Error },
    #[error(
        "cannot listen on {address}: no permission for this port (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
    )]
    NoPermission { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}: this machine has no such address")]
    NotAvailable { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {address}: {source}")]
    Other { address: SocketAddr, source: io::Error },
    #[error("cannot listen on the inherited socket: {source}")]
    Inherited { source: io::Error },
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::AddrInUse => Self::InUse { address, source },
            ErrorKind::PermissionDenied => Self::NoPermission { address, source },
            ErrorKind::AddrNotAvailable => Self::NotAvailable { address, source },
            _ => Self::Other { address, source },
        }
    }
}

/// A bound socket. Binding is a start-up phase of its own, so that all addresses are ours before
/// anything is served.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`. `user_timeout` is how long sent bytes may stay unacknowledged before the
    /// kernel drops the connection (RFC 5482); it ends connections to machines that have vanished,
    /// on which no write ever blocks.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`]
    pub fn bind(address: SocketAddr, user_timeout: Duration) -> Result<Self, BindError> {
        open(address, user_timeout)
            .and_then(|socket| {
                // For port 0 the kernel chooses one.
                let address = socket.local_addr()?;
                Ok(Self { socket, address })
            })
            .map_err(|source| BindError::new(address, source))
    }

    /// Listens on a socket that another process has bound.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError::Inherited`]
    pub fn inherit(socket: std::net::TcpListener, user_timeout: Duration) -> Result<Self, BindError> {
        adopt(socket, user_timeout)
            .and_then(|socket| {
                let address = socket.local_addr()?;
                Ok(Self { socket, address })
            })
            .map_err(|source| BindError::Inherited { source })
    }

    /// Stops listening. Returns the connections that wait to be accepted, no more than
    /// [`BACKLOG`] of them.
    pub(super) fn into_backlog(self) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
        let socket = self.socket.into_std().ok();
        let accept = move || {
            let (socket, peer) = socket.as_ref()?.accept().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(socket).ok()?, peer))
        };
        std::iter::from_fn(accept).take(BACKLOG.unsigned_abs() as usize)
    }

    /// The bound address, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn open(address: SocketAddr, user_timeout: Duration) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `::` listens on IPv4 too, whatever the machine's default.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restart must not wait for old connections in TIME_WAIT.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    prepare(&socket, user_timeout)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn adopt(socket: std::net::TcpListener, user_timeout: Duration) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    if !socket.is_listener()? {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it does not listen"));
    }
    prepare(&socket, user_timeout)?;
    TcpListener::from_std(socket.into())
}

fn prepare(socket: &Socket, user_timeout: Duration) -> io::Result<()> {
    // Accepted sockets inherit both on Linux: no system call per connection.
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(user_timeout))?;
    #[cfg(not(target_os = "linux"))]
    let _ = user_timeout;
    socket.set_nonblocking(true)
}
