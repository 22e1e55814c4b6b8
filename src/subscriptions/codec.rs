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

/// The state that a log describes, and the size of its last whole state.
pub(super) fn replay(messages: &[u8]) -> Result<(State, usize), CodecError> {
    let mut found: Option<(State, usize)> = None;
    for (number, line) in messages.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b",").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let event = serde_json::from_slice(line).map_err(|source| CodecError::Event { number, source })?;
        match (event, &mut found) {
            (Event::State { version, .. }, _) if version > VERSION => return Err(CodecError::Version(version)),
            (Event::State { state, .. }, found) => *found = Some((*state, line.len())),
            (event, Some((state, _))) => state.apply(event),
            (_, None) => return Err(CodecError::NoState),
        }
    }
    found.ok_or(CodecError::NoState)
}
