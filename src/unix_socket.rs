//! Unix sockets in the data directory, which only its owner can connect to.

use std::{
    fs,
    io::{self, BufRead, Read as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use serde::{Serialize, de::DeserializeOwned};
use socket2::{Domain, SockAddr, Socket, Type};

/// The longest path of a socket address on every system. macOS allows 104 bytes including the
/// terminator.
const MAX_PATH: usize = 100;

/// Connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 1024;

/// The longest message: a path and its key.
pub(crate) const MAX_LINE_BYTES: u64 = 16 * 1024;

/// A message as it is sent: JSON in a line.
pub(crate) fn line(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Receives a message.
pub(crate) async fn receive<T: DeserializeOwned>(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<T> {
    let mut line = Vec::new();
    stream.take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
    parse(&line)
}

/// [`receive`] for blocking threads.
pub(crate) fn receive_blocking<T: DeserializeOwned>(stream: &mut impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    stream.take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    parse(&line)
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> io::Result<T> {
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(line)?)
}

/// Listens in a directory that this process holds. An existing socket is stale.
pub(crate) fn bind(dir: &Path, file: &str) -> io::Result<UnixListener> {
    with_short_path(dir, file, |path| {
        remove_file(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Before `listen`, so that nobody can connect with the initial permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        give_to_owner(dir, path)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    })
}

/// Gives a socket of root to the owner of its directory, whose servers connect to it.
fn give_to_owner(dir: &Path, socket: &Path) -> io::Result<()> {
    let owner = fs::metadata(dir)?;
    match rustix::process::geteuid().is_root() && owner.uid() != 0 {
        true => chown(socket, Some(owner.uid()), Some(owner.gid())),
        false => Ok(()),
    }
}

/// Connects to a socket in a directory.
pub(crate) fn connect(dir: &Path, file: &str) -> io::Result<UnixStream> {
    with_short_path(dir, file, |path| UnixStream::connect(path))
}

/// Connects without waiting for room in the queue of connections.
pub(crate) fn connect_nonblocking(dir: &Path, file: &str) -> io::Result<UnixStream> {
    with_short_path(dir, file, |path| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(socket.into())
    })
}

/// Removes a socket, if it is there.
pub(crate) fn remove(dir: &Path, file: &str) -> io::Result<()> {
    remove_file(&dir.join(file))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Calls `work` with a path to the socket that is short enough for an address.
fn with_short_path<T>(dir: &Path, file: &str, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = dir.join(file);
    if path.as_os_str().len() <= MAX_PATH {
        return work(&path);
    }
    through_descriptor(dir, file, work)
}

/// Linux has a short path for every open directory.
#[cfg(target_os = "linux")]
fn through_descriptor<T>(dir: &Path, file: &str, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd as _;

    let dir = fs::File::open(dir)?;
    work(Path::new(&format!("/proc/self/fd/{}/{file}", dir.as_raw_fd())))
}

#[cfg(not(target_os = "linux"))]
fn through_descriptor<T>(dir: &Path, _file: &str, _work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let reason = format!("{} is too long for the address of a socket", dir.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}
