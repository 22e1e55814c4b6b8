//! The list of streams.

use std::sync::Arc;

use super::{Engine, Shared, errors::Unavailable, expiry::deadline, read::Metadata, stream::Gone};
use crate::{
    protocol::{Millis, Offset, StreamName, name::canonical},
    storage::{StorageError, Stored},
};

/// How many records one look at the store reads.
const PAGE: usize = 256;
/// How many records one listing looks at. Those that it does not show cost as much as the others.
const MAX_LOOKED_AT: usize = 4096;

/// Streams in the order of their names' keys.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Those that can be read, and not more than were asked for.
    pub streams: Vec<Listed>,
    /// The name to go on behind; `None` when there are no more. There may be a name and no
    /// streams, where many that are not shown stand between others.
    pub next: Option<StreamName>,
}

/// A stream in a list.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: StreamName,
    /// What `HEAD` says of it.
    pub metadata: Metadata,
    /// The stream that it was forked from, and where.
    pub forked_from: Option<(StreamName, Offset)>,
}

impl Engine {
    /// Streams whose names begin with `prefix`, after `after`, at most `limit`. Those that are
    /// deleted, or whose time is over, are not among them. Does not count as a read.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn list(&self, prefix: String, after: Option<String>, limit: usize) -> Result<Listing, Unavailable> {
        let shared = Arc::clone(&self.shared);
        let (prefix, after) = (
            canonical(&prefix).into_owned(),
            after.map(|after| canonical(&after).into_owned()),
        );
        // Also where the store is memory: a page of records is more than a worker should wait for.
        self.blocking(move || shared.list(&prefix, after, limit))
            .await?
            .map_err(Unavailable::from)
    }
}

impl Shared {
    fn list(&self, prefix: &str, mut after: Option<String>, limit: usize) -> Result<Listing, StorageError> {
        let now = self.clock.millis();
        let mut listing = Listing::default();
        let mut looked_at = 0;
        loop {
            // One more than is shown tells whether there are more.
            let wanted = (limit - listing.streams.len() + 1).min(PAGE);
            let page = self.storage.list(prefix, after.as_deref(), wanted)?;
            looked_at += page.len();
            let last_page = page.len() < wanted;
            for (name, stored) in page {
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
            if looked_at >= MAX_LOOKED_AT {
                listing.next = after.and_then(|name| StreamName::new(&name).ok());
                return Ok(listing);
            }
        }
    }

    /// What is published of a stream goes before what is stored of it: memory knows the later
    /// reads, and shows no append before it is acknowledged.
    fn listed(&self, name: StreamName, stored: Stored, now: Millis) -> Option<Listed> {
        let (record, tail) = match self.cache.get(&name) {
            Ok(stream) => match stream.record() {
                (record, tail, None) if !stream.expired(now) => (record, tail),
                (_, _, None | Some(Gone::Deleted | Gone::SoftDeleted)) => return None,
            },
            Err(_) => {
                let Stored { record, tail, .. } = stored;
                let over = deadline(record.lifetime, record.touched_at).is_some_and(|deadline| deadline <= now);
                if record.soft_deleted || over {
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
