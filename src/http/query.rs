//! The query parameters of a read (sections 5.6 to 5.8).

use std::borrow::Cow;

use crate::protocol::{
    BadInput, Offset, ReadFrom,
    cursor::{self, Cursor},
};

/// The query of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadQuery {
    pub(crate) from: ReadFrom,
    pub(crate) live: Option<Live>,
    pub(crate) cursor: Option<Cursor>,
    /// The stored form, and up to which offset, if it says so.
    pub(crate) stored: Option<Option<Offset>>,
}

/// How to wait for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    LongPoll,
    Sse,
}

impl ReadQuery {
    /// Reads a query. Parameters that the protocol does not know are left alone.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, BadInput> {
        let (mut offset, mut live, mut client_cursor) = (None, None, None);
        let (mut form, mut until) = (None, None);
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "offset" => set(&mut offset, "offset", value)?,
                "live" => set(&mut live, "live", value)?,
                "cursor" => set(&mut client_cursor, "cursor", value)?,
                "form" => set(&mut form, "form", value)?,
                "until" => set(&mut until, "until", value)?,
                _ => {}
            }
        }
        let stored = match form.as_deref() {
            Some("stored") => Some(until.map(|until| Offset::parse("until", &until)).transpose()?),
            _ => None,
        };
        let live = match live.as_deref() {
            None => None,
            Some("long-poll") => Some(Live::LongPoll),
            Some("sse") => Some(Live::Sse),
            Some(_) => return Err(BadInput::new("live", "must be `long-poll` or `sse`")),
        };
        if live.is_some() && offset.is_none() {
            return Err(BadInput::new("offset", "is required with `live`"));
        }
        let from = offset.as_deref().map_or(Ok(ReadFrom::Beginning), ReadFrom::parse)?;
        Ok(Self {
            from,
            live,
            cursor: client_cursor.as_deref().and_then(cursor::parse),
            stored,
        })
    }
}

/// Fills a parameter's place, once.
pub(super) fn set<'q>(
    slot: &mut Option<Cow<'q, str>>,
    name: &'static str,
    value: Cow<'q, str>,
) -> Result<(), BadInput> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(BadInput::new(name, "is given more than once")),
    }
}
