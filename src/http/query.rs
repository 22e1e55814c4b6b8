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
    pub(crate) form: Form,
}

/// How content is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the protocol has it.
    Protocol,
    /// As it is stored, up to an offset if the query has one.
    Stored { until: Option<Offset> },
}

/// The mode of a live read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    LongPoll,
    Sse,
}

impl Live {
    /// The value of the parameter `live`, and the label in metrics and the access log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LongPoll => "long-poll",
            Self::Sse => "sse",
        }
    }

    fn parse(text: &str) -> Result<Self, BadInput> {
        let mut modes = [Self::LongPoll, Self::Sse].into_iter();
        modes
            .find(|mode| mode.name() == text)
            .ok_or_else(|| BadInput::new("live", "must be `long-poll` or `sse`"))
    }
}

impl ReadQuery {
    /// Reads a query. Unknown parameters are ignored.
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
        let form = match form.as_deref() {
            Some("stored") => Form::Stored {
                until: until.map(|until| Offset::parse("until", &until)).transpose()?,
            },
            _ => Form::Protocol,
        };
        let live = live.as_deref().map(Live::parse).transpose()?;
        if live.is_some() && offset.is_none() {
            return Err(BadInput::new("offset", "is required with `live`"));
        }
        let from = offset.as_deref().map_or(Ok(ReadFrom::Beginning), ReadFrom::parse)?;
        Ok(Self {
            from,
            live,
            cursor: client_cursor.as_deref().and_then(cursor::parse),
            form,
        })
    }
}

/// Stores a parameter's value, which may be given once.
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
