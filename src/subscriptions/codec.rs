//! A subscription's log: one event on each line.

use bytes::Bytes;

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

/// Events as messages in the stored form of a JSON stream.
pub(super) fn encode(events: &[Event]) -> Result<Bytes, serde_json::Error> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, event)?;
        lines.extend_from_slice(b",\n");
    }
    Ok(lines.into())
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
pub(super) fn decode(messages: &[u8]) -> Result<Vec<Line>, CodecError> {
    let mut lines = Vec::new();
    for (number, line) in messages.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let len = line.len();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b",").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let event = serde_json::from_slice(line).map_err(|source| CodecError::Event { number, source })?;
        match event {
            Event::State { version, .. } if version > VERSION => return Err(CodecError::Version(version)),
            event => lines.push(Line { event, len }),
        }
    }
    Ok(lines)
}

/// The events of a whole log, which begins with a state.
pub(super) fn decode_whole(messages: &[u8]) -> Result<Vec<Line>, CodecError> {
    let lines = decode(messages)?;
    match lines.first().map(|line| &line.event) {
        Some(Event::State { .. }) => Ok(lines),
        _ => Err(CodecError::NoState),
    }
}
