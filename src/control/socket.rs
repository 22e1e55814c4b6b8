//! The Unix socket in the data directory.

use std::{
    fs, io,
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use socket2::{Domain, SockAddr, Socket, Type};

/// The socket in the data directory.
pub(super) const FILE_NAME: &str = "control.sock";

/// The longest path of a socket address on every system. macOS allows 104 bytes including the
/// terminator.
const MAX_PATH: usize = 100;

/// Connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 16;

/// Listens in a directory that this process holds. An existing socket is stale.
pub(super) fn bind(dir: &Path) -> io::Result<UnixListener> {
    with_short_path(dir, |path| {
        remove_file(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // Before `listen`, so that nobody can connect with the initial permissions.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    })
}

pub(super) fn connect(dir: &Path) -> io::Result<UnixStream> {
    with_short_path(dir, |path| UnixStream::connect(path))
}

pub(super) fn remove(dir: &Path) -> io::Result<()> {
    remove_file(&dir.join(FILE_NAME))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Calls `work` with a path to the socket that is short enough for an address.
fn with_short_path<T>(dir: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = dir.join(FILE_NAME);
    if path.as_os_str().len() <= MAX_PATH {
        return work(&path);
    }
    through_descriptor(dir, work)
}

/// Linux has a short path for every open directory.
#[cfg(target_os = "linux")]
fn through_descriptor<T>(dir: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd as _;

    let dir = fs::File::open(dir)?;
    work(Path::new(&format!("/proc/self/fd/{}/{FILE_NAME}", dir.as_raw_fd())))
}

#[cfg(not(target_os = "linux"))]
fn through_descriptor<T>(dir: &Path, _work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let reason = format!("{} is too long for the address of a socket", dir.display());
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}
