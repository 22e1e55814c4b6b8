//! The client side of the control socket.

use std::{
    io::{self, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{
    SOCKET,
    messages::{Answer, Request},
};
use crate::{storage::StoreReport, unix_socket};

/// The read and write timeout. The server reports progress every second.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A request to the control socket failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No server accepts connections.
    #[error("its control socket does not answer: {0}")]
    Unreachable(#[source] io::Error),
    /// The connection failed. The backup is being cancelled, if it began.
    #[error("the connection to its control socket failed: {0}")]
    Disconnected(#[source] io::Error),
    /// The request has no JSON form: the path is not UTF-8.
    #[error("the request cannot be sent: {0}")]
    Encode(#[source] serde_json::Error),
    /// The server's answer.
    #[error("{0}")]
    Refused(String),
}

/// Asks the holder of `dir` for a backup to `to`, an absolute path as the holder sees it, and waits
/// for its completion. Paths that are not UTF-8 are not supported.
///
/// # Errors
/// [`ControlError`]
pub(crate) fn backup(dir: &Path, to: &Path) -> Result<StoreReport, ControlError> {
    let request = Request::Backup { to: to.to_owned() };
    let line = unix_socket::line(&request).map_err(ControlError::Encode)?;
    let mut stream = open(dir).map_err(ControlError::Unreachable)?;
    stream.write_all(&line).map_err(ControlError::Disconnected)?;
    let mut answers = BufReader::new(stream);
    loop {
        match unix_socket::receive_blocking(&mut answers).map_err(ControlError::Disconnected)? {
            Answer::Progress { .. } => {}
            Answer::Done { streams, bytes } => {
                return Ok(StoreReport {
                    streams,
                    bytes,
                    problems: Vec::new(),
                });
            }
            Answer::Registered | Answer::Released => {
                return Err(ControlError::Disconnected(io::ErrorKind::InvalidData.into()));
            }
            Answer::Error(reason) => return Err(ControlError::Refused(reason)),
        }
    }
}

fn open(dir: &Path) -> io::Result<UnixStream> {
    let stream = unix_socket::connect(dir, SOCKET)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
