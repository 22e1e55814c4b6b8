//! A subscription's log: one event on each line.

use bytes::Bytes;
use serde::Serialize;

use super::state::{Event, State, VERSION};

/// A log that this server cannot read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    /// An event is damaged, or of a later version.
    #[error("event {number} of the subscription's log cannot be read")]
    Event {
        number: usize,
        #[source]
        source: serde_json::Error,
    },
    /// A later server has written it.
    #[error("the subscription was stored by a later server, as version {0}")]
    Version(u32),
    /// It does not begin with a state.
    #[error("the subscription's log has no beginning")]
    NoState,
}

/// Values as messages in the stored form of a JSON stream.
pub(super) fn encode<T: Serialize>(values: &[T]) -> Result<Bytes, serde_json::Error> {
    let mut lines = Vec::new();
    for value in values {
        serde_json::to_writer(&mut lines, value)?;
        lines.extend_from_slice(b",\n");
    }
    Ok(lines.into())
}

/// Stored messages, each with its bytes in the log.
pub(super) fn messages(stored: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let lines = stored.split_inclusive(|byte| *byte == b'\n');
    let messages = lines.map(|line| {
        let message = line.strip_suffix(b"\n").unwrap_or(line);
        (message.strip_suffix(b",").unwrap_or(message), line.len())
    });
    messages.filter(|(message, _)| !message.is_empty())
}

/// The whole state as one event.
pub(super) fn encode_state(state: State) -> Result<Bytes, serde_json::Error> {
    encode(&[Event::State {
        version: VERSION,
        state: Box::new(state),
    }])
}

/// An event of a log.
pub(super) struct Line {
    pub(super) event: Event,
    /// Its bytes in the log.
    pub(super) len: usize,
}

/// The events of a log, or of a part of it.
pub(super) fn decode(stored: &[u8]) -> Result<Vec<Line>, CodecError> {
    let mut lines = Vec::new();
    for (number, (message, len)) in messages(stored).enumerate() {
        let event = serde_json::from_slice(message).map_err(|source| CodecError::Event { number, source })?;
        match event {
            Event::State { version, .. } if version > VERSION => return Err(CodecError::Version(version)),
            event => lines.push(Line { event, len }),
        }
    }
    Ok(lines)
}

/// The events of a whole log, which begins with a state.
pub(super) fn decode_whole(stored: &[u8]) -> Result<Vec<Line>, CodecError> {
    let lines = decode(stored)?;
    match lines.first().map(|line| &line.event) {
        Some(Event::State { .. }) => Ok(lines),
        _ => Err(CodecError::NoState),
    }
}
