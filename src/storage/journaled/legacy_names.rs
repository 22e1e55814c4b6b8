//! The names in a journal that a legacy version may have written.

use std::{collections::HashMap, sync::Arc};

use crate::{
    protocol::StreamName,
    storage::{
        StreamId,
        index::{Snapshot, candidate_names, warn_renamed},
        journal::entry::{DecodeError, ResolveNames},
    },
};

/// Resolves names of a journal whose index has been made canonical since.
pub(super) struct LegacyNames<'a> {
    index: &'a Arc<Snapshot>,
    /// The streams that have a name, as far as the journal was read; `None`: removed.
    holders: HashMap<StreamName, Option<StreamId>>,
}

impl<'a> LegacyNames<'a> {
    pub(super) fn new(index: &'a Arc<Snapshot>) -> Self {
        Self {
            index,
            holders: HashMap::new(),
        }
    }

    /// The stream that has a name, and the name as spelled.
    fn holder(&self, name: &StreamName) -> Result<Option<(StreamName, StreamId)>, redb::Error> {
        if let Some((spelling, id)) = self.holders.get_key_value(name) {
            return Ok(id.map(|id| (spelling.clone(), id)));
        }
        let Some(record) = self.index.record(name)? else {
            return Ok(None);
        };
        Ok(Some((self.index.spelling(name)?, record.id)))
    }

    fn name_held_by(&self, written: &str, id: StreamId) -> Result<Option<StreamName>, redb::Error> {
        for name in candidate_names(written, id) {
            if self.holder(&name)?.is_some_and(|(_, holder)| holder == id) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn find(&self, written: &str, id: StreamId) -> Result<Option<StreamName>, redb::Error> {
        if let Some(name) = self.name_held_by(written, id)? {
            return Ok(Some(name));
        }
        for name in candidate_names(written, id) {
            // A stream replaces one of the same spelling. Another spelling was another stream.
            if self
                .holder(&name)?
                .is_none_or(|(holder, _)| holder.as_str() == name.as_str())
            {
                warn_renamed(written, &name);
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

impl ResolveNames for LegacyNames<'_> {
    fn legacy_put(&mut self, written: &str, id: StreamId) -> Result<StreamName, DecodeError> {
        let name = self.find(written, id)?;
        let name = name.ok_or_else(|| DecodeError::NoName(written.to_owned()))?;
        // Inserting alone would keep the key, and with it the spelling of an earlier holder.
        self.holders.remove(&name);
        self.holders.insert(name.clone(), Some(id));
        Ok(name)
    }

    fn put(&mut self, written: &str, id: StreamId) -> Result<StreamName, DecodeError> {
        let name = DecodeError::parse_name(written)?;
        self.holders.insert(name.clone(), Some(id));
        Ok(name)
    }

    fn removed(&mut self, written: &str, id: StreamId) -> Result<StreamName, DecodeError> {
        if let Some(name) = self.name_held_by(written, id)? {
            self.holders.insert(name.clone(), None);
            return Ok(name);
        }
        candidate_names(written, id)
            .next()
            .ok_or_else(|| DecodeError::NoName(written.to_owned()))
    }
}
