//! Connecting to the holder of a directory, which may be about to change.

use std::{
    io::{self, ErrorKind},
    os::unix::net::UnixStream as BlockingStream,
    path::Path,
    time::Duration,
};

use tokio::net::UnixStream;

use super::SOCKET;
use crate::unix_socket;

/// The longest time without a holder: the next server takes the directory within milliseconds, but
/// one that failed has to be started again.
const MAX_WAIT: Duration = Duration::from_secs(10);

const RETRY_INTERVAL: Duration = Duration::from_millis(5);

fn attempts() -> u32 {
    u32::try_from(MAX_WAIT.as_millis() / RETRY_INTERVAL.as_millis()).unwrap_or(u32::MAX)
}

/// No server listens yet, or the queue of connections is full.
fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::WouldBlock
    )
}

/// Connects to the holder of a directory, waiting a while for one.
pub(crate) async fn connect(dir: &Path) -> io::Result<UnixStream> {
    let mut left = attempts();
    loop {
        match unix_socket::connect_nonblocking(dir, SOCKET) {
            Err(error) if is_temporary(&error) && left > 0 => {
                left -= 1;
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
            done => return UnixStream::from_std(done?),
        }
    }
}

/// [`connect`] for blocking threads.
pub(crate) fn connect_blocking(dir: &Path) -> io::Result<BlockingStream> {
    let mut left = attempts();
    loop {
        match unix_socket::connect(dir, SOCKET) {
            Err(error) if is_temporary(&error) && left > 0 => {
                left -= 1;
                // On a blocking thread.
                std::thread::park_timeout(RETRY_INTERVAL);
            }
            done => return done,
        }
    }
}
