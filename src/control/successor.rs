//! A server that waits for a data directory, registered with its holder.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{
    SOCKET,
    messages::{Answer, Request},
};
use crate::{handover, unix_socket};

/// How long a holder may take to answer. One that hangs cannot be asked for anything.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The holder cannot be asked for its directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegisterError {
    #[error("its control socket does not answer: {0}")]
    Unreachable(#[from] io::Error),
    #[error("it refuses: {0}")]
    Refused(String),
}

impl RegisterError {
    /// Nobody listens, or the listener has just ended: there is no holder, or it is changing.
    pub(crate) fn is_without_server(&self) -> bool {
        let Self::Unreachable(error) = self else { return false };
        matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    }
}

/// A connection to the holder, which hands the directory over when asked, or when it stops.
pub(crate) struct Registration {
    stream: BufReader<UnixStream>,
}

impl Registration {
    /// Registers with the holder of `dir`.
    ///
    /// # Errors
    /// [`RegisterError`]
    pub(crate) async fn open(dir: &Path) -> Result<Self, RegisterError> {
        let stream = unix_socket::connect_nonblocking(dir, SOCKET)?;
        let mut registration = Self {
            stream: BufReader::new(UnixStream::from_std(stream)?),
        };
        let request = Request::Successor {
            version: handover::VERSION,
        };
        let line = unix_socket::line(&request).map_err(io::Error::from)?;
        registration.stream.write_all(&line).await?;
        let answered = timeout(TIMEOUT, registration.answer()).await;
        match answered.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
            Answer::Registered => Ok(registration),
            Answer::Error(reason) => Err(RegisterError::Refused(reason)),
            _ => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
        }
    }

    /// Asks for the directory.
    ///
    /// # Errors
    /// If the holder is gone.
    pub(crate) async fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(b"\n").await
    }

    /// Waits until the directory is free.
    ///
    /// # Errors
    /// If the holder goes away before; then the directory is free as well.
    pub(crate) async fn released(&mut self) -> io::Result<()> {
        match self.answer().await? {
            Answer::Released => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        unix_socket::receive(&mut self.stream).await
    }
}
