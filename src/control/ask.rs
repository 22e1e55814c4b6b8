//! The side of who asks.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use super::{Answer, MAX_LINE, Request, socket};
use crate::storage::tools::Report;

/// How long the server may be silent: it says every second how far it is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody answers on the socket.
    #[error("its control socket does not answer: {0}")]
    Unreachable(io::Error),
    /// The conversation broke off. What was asked for may be under way, or be ending.
    #[error("it stopped answering: {0}")]
    Broken(io::Error),
    /// In the server's words.
    #[error("{0}")]
    Refused(String),
}

/// Asks the holder of `dir` to copy it to `to`, an absolute path as the holder sees it, and
/// waits for the end.
///
/// # Errors
/// [`AskError`]
pub(crate) fn backup(dir: &Path, to: &Path) -> Result<Report, AskError> {
    let request = Request::Backup { to: to.to_owned() };
    // JSON has no words for a path that is not UTF-8.
    let mut line = serde_json::to_vec(&request).map_err(|error| AskError::Refused(error.to_string()))?;
    line.push(b'\n');
    let mut stream = open(dir).map_err(AskError::Unreachable)?;
    stream.write_all(&line).map_err(AskError::Broken)?;
    let mut answers = BufReader::new(stream);
    loop {
        match next(&mut answers).map_err(AskError::Broken)? {
            Answer::Progress { .. } => {}
            Answer::Done { streams, bytes } => {
                return Ok(Report {
                    streams,
                    bytes,
                    problems: Vec::new(),
                });
            }
            Answer::Error(why) => return Err(AskError::Refused(why)),
        }
    }
}

fn open(dir: &Path) -> io::Result<UnixStream> {
    let stream = socket::connect(dir)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn next(answers: &mut BufReader<UnixStream>) -> io::Result<Answer> {
    let mut line = Vec::new();
    answers.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&line)?)
}
