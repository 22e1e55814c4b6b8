//! The names in a journal that a former version may have written.

use std::{collections::HashMap, sync::Arc};

use crate::{
    protocol::StreamName,
    storage::{
        StreamId,
        index::{Snapshot, candidates, warn_of_change},
        journal::entry::Names,
    },
};

/// The names of the streams in such a journal: the index was brought to the names of today, and
/// the journal has those of then.
pub(super) struct FormerNames<'a> {
    index: &'a Arc<Snapshot>,
    /// Who has a name, as far as the journal was read; `None`: nobody.
    holders: HashMap<StreamName, Option<StreamId>>,
}

impl<'a> FormerNames<'a> {
    pub(super) fn new(index: &'a Arc<Snapshot>) -> Self {
        Self {
            index,
            holders: HashMap::new(),
        }
    }

    /// Who has the name, and the name as it is spelled.
    fn holder(&self, name: &StreamName) -> Result<Option<(StreamName, StreamId)>, redb::Error> {
        if let Some((spelled, id)) = self.holders.get_key_value(name) {
            return Ok(id.map(|id| (spelled.clone(), id)));
        }
        let Some(record) = self.index.record(name)? else {
            return Ok(None);
        };
        Ok(Some((self.index.spelled(name)?, record.id)))
    }

    fn name_held_by(&self, written: &str, id: StreamId) -> Result<Option<StreamName>, redb::Error> {
        for name in candidates(written, id) {
            if self.holder(&name)?.is_some_and(|(_, holder)| holder == id) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn name_of_earlier(&self, written: &str, id: StreamId) -> Result<Option<StreamName>, redb::Error> {
        if let Some(name) = self.name_held_by(written, id)? {
            return Ok(Some(name));
        }
        for name in candidates(written, id) {
            // A stream replaces one of the same spelling. Another spelling was another stream.
            if self
                .holder(&name)?
                .is_none_or(|(holder, _)| holder.as_str() == name.as_str())
            {
                warn_of_change(written, &name);
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

impl Names for FormerNames<'_> {
    fn of_earlier(&mut self, written: &str, id: StreamId) -> Result<StreamName, String> {
        let name = self.name_of_earlier(written, id).map_err(|error| error.to_string())?;
        let name = name.ok_or("a name that cannot be used")?;
        // The key would keep the spelling of an earlier holder.
        self.holders.remove(&name);
        self.holders.insert(name.clone(), Some(id));
        Ok(name)
    }

    fn of_put(&mut self, written: &str, id: StreamId) -> Result<StreamName, String> {
        let name = StreamName::new(written).map_err(|error| error.to_string())?;
        self.holders.insert(name.clone(), Some(id));
        Ok(name)
    }

    fn of_removed(&mut self, written: &str, id: StreamId) -> Result<StreamName, String> {
        let held = self.name_held_by(written, id).map_err(|error| error.to_string())?;
        if let Some(name) = held {
            self.holders.insert(name.clone(), None);
            return Ok(name);
        }
        candidates(written, id)
            .next()
            .ok_or_else(|| "a name that cannot be used".into())
    }
}
