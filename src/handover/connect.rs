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

/// The pause before the next attempt: a tenth of the wait so far, within these bounds. Thousands may
/// be waiting.
const MIN_PAUSE: Duration = Duration::from_millis(2);
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// The attempts to connect.
struct Attempts {
    waited: Duration,
}

impl Attempts {
    fn new() -> Self {
        Self { waited: Duration::ZERO }
    }

    /// The pause before the next attempt; `None` after the last.
    fn pause(&mut self) -> Option<Duration> {
        let pause = (self.waited / 10).clamp(MIN_PAUSE, MAX_PAUSE);
        self.waited += pause;
        (self.waited <= MAX_WAIT).then_some(pause)
    }
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
    let mut attempts = Attempts::new();
    loop {
        match unix_socket::connect_nonblocking(dir, SOCKET) {
            Err(error) if is_temporary(&error) => match attempts.pause() {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            },
            done => return UnixStream::from_std(done?),
        }
    }
}

/// [`connect`] for blocking threads.
pub(crate) fn connect_blocking(dir: &Path) -> io::Result<BlockingStream> {
    let mut attempts = Attempts::new();
    loop {
        match unix_socket::connect(dir, SOCKET) {
            Err(error) if is_temporary(&error) => match attempts.pause() {
                // On a blocking thread.
                Some(pause) => std::thread::park_timeout(pause),
                None => return Err(error),
            },
            done => return done,
        }
    }
}
