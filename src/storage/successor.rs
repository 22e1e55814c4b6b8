//! Reads of a store that was handed over, by way of its new holder.

use std::{
    io::{self, BufReader, Read as _, Write as _},
    ops::Range,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use bytes::Bytes;

use super::{Position, StorageError, StreamId};
use crate::{
    handover::{self, Answer, Opening},
    protocol::StreamName,
    unix_socket,
};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The bytes of a range, as [`Storage::read`](super::Storage::read) of the new holder has them.
pub(super) fn read(dir: &Path, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
    let max = range.end.saturating_sub(range.start);
    let opening = Opening::Read {
        id,
        start: range.start,
        end: range.end,
    };
    let (answer, mut rest) = ask(dir, &opening).map_err(failed)?;
    let Answer::Bytes(len) = answer else {
        return Err(unexpected(answer));
    };
    if len > max {
        return Err(failed(io::ErrorKind::InvalidData.into()));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    rest.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes.into())
}

pub(super) fn is_current(dir: &Path, name: &StreamName, id: StreamId, from: Position) -> Result<bool, StorageError> {
    let opening = Opening::Current {
        name: name.as_str().to_owned(),
        id,
        from,
    };
    match ask(dir, &opening).map_err(failed)?.0 {
        Answer::Current(current) => Ok(current),
        other => Err(unexpected(other)),
    }
}

fn ask(dir: &Path, opening: &Opening) -> io::Result<(Answer, BufReader<UnixStream>)> {
    let mut stream = handover::connect_blocking(dir)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(&unix_socket::line(opening)?)?;
    let mut reader = BufReader::new(stream);
    Ok((unix_socket::receive_blocking(&mut reader)?, reader))
}

fn failed(source: io::Error) -> StorageError {
    StorageError::Io {
        context: "cannot read from the server that took over the data directory".to_owned(),
        source,
    }
}

fn unexpected(answer: Answer) -> StorageError {
    match answer {
        Answer::Failed(reason) => failed(io::Error::other(reason)),
        Answer::Bytes(_) | Answer::Current(_) => failed(io::ErrorKind::InvalidData.into()),
    }
}
