//! The list of streams.

use std::sync::Arc;

use super::{Engine, Shared, errors::Unavailable, metadata::Metadata, snapshot::Snapshot};
use crate::{
    protocol::{Millis, Offset, StreamName, name::canonical},
    storage::{StorageError, Stored},
};

/// Records that one call of the store returns.
const PAGE: usize = 256;
/// Records that one listing reads. Those that it leaves out cost as much as the others.
const MAX_RECORDS: usize = 4096;
/// Greater than the key of every internal stream, and than no other key that is.
const AFTER_INTERNAL: &str = "__ds0";

/// One page of streams, in the order of their names' keys.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Streams that can be read, at most as many as were asked for.
    pub streams: Vec<Listed>,
    /// Pass as `after` for the next page; `None` on the last. A page may be empty and not the
    /// last, because many streams in a row may be left out.
    pub next: Option<StreamName>,
}

/// A stream in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// Its metadata.
    pub metadata: Metadata,
    /// The stream that it was forked from, and where.
    pub forked_from: Option<(StreamName, Offset)>,
}

impl Engine {
    /// At most `limit` streams whose names begin with `prefix` and come after `after`, without
    /// deleted and expired ones. Does not count as a read.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn list(&self, prefix: String, after: Option<String>, limit: usize) -> Result<Listing, Unavailable> {
        let shared = Arc::clone(&self.shared);
        let (prefix, after) = (
            canonical(&prefix).into_owned(),
            after.map(|after| canonical(&after).into_owned()),
        );
        // Even an in-memory store takes too long for a worker to wait for a page.
        self.blocking(move || shared.list(&prefix, after, limit))
            .await?
            .map_err(Unavailable::from)
    }
}

impl Shared {
    fn list(&self, prefix: &str, mut after: Option<String>, limit: usize) -> Result<Listing, StorageError> {
        let now = self.clock.millis();
        let mut listing = Listing::default();
        let mut examined = 0;
        'pages: loop {
            // One more record than fits tells whether there is another page.
            let wanted = (limit - listing.streams.len() + 1).min(PAGE);
            let page = self.storage.list(prefix, after.as_deref(), wanted)?;
            examined += page.len();
            let last_page = page.len() < wanted;
            for (name, stored) in page {
                if name.is_internal() {
                    // They are next to each other: go on after the last one.
                    after = Some(AFTER_INTERNAL.to_owned());
                    continue 'pages;
                }
                if listing.streams.len() == limit {
                    listing.next = listing.streams.last().map(|last| last.name.clone());
                    return Ok(listing);
                }
                after = Some(name.key().to_owned());
                listing.streams.extend(self.listed(name, stored, now));
            }
            if last_page {
                return Ok(listing);
            }
            if examined >= MAX_RECORDS {
                listing.next = after.and_then(|name| StreamName::stored(&name).ok());
                return Ok(listing);
            }
        }
    }

    /// Prefers the stream in memory to its record: memory knows later reads, and shows an append
    /// only once it is acknowledged.
    fn listed(&self, name: StreamName, stored: Stored, now: Millis) -> Option<Listed> {
        // What was read from a shared store may be newer than memory.
        let in_memory = self.cache.get(&name).filter(|_| self.sharing.is_none());
        let (record, tail) = match in_memory {
            Some(stream) => {
                let Snapshot { record, tail, gone, .. } = stream.snapshot();
                if gone.is_some() || stream.expired(now) {
                    return None;
                }
                (record, tail)
            }
            None => {
                let Stored { record, tail, .. } = stored;
                let deadline = self.cache.lifetimes().deadline(record.lifetime, record.touched_at);
                let is_expired = deadline.is_some_and(|deadline| deadline <= now);
                if record.soft_deleted || is_expired {
                    return None;
                }
                (Arc::new(record), tail)
            }
        };
        Some(Listed {
            metadata: self.describe(&name, &record, tail),
            forked_from: record
                .fork
                .as_ref()
                .map(|fork| (fork.source.clone(), record.offset(record.start))),
            name,
        })
    }
}
