//! The bytes of a truncated stream that are worth keeping.

use crate::{
    protocol::{ContentType, Kind, frame, json},
    storage::StreamRecord,
};

/// The length of the complete appends or messages at the beginning of `bytes`.
pub(super) fn complete_prefix(record: &StreamRecord, bytes: &[u8]) -> usize {
    if record.framing.is_framed() {
        let mut frames = frame::frames(bytes, record.framing);
        frames.by_ref().for_each(drop);
        return frames.at();
    }
    match ContentType::parse(&record.content_type).map(|content_type| content_type.kind()) {
        Ok(Kind::Json) => json::whole_messages(bytes),
        Ok(Kind::Text | Kind::Binary) | Err(_) => bytes.len(),
    }
}
