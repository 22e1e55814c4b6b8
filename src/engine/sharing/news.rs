//! Other servers' changes, on their way to the live readers of this one.
//!
//! The store's feed only notes what has changed, and only for streams that are followed here. A task
//! then reads their records and bytes, each once however many readers there are. It never believes a
//! tail that it has not read: news of a history that was lost may be late.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Sharing,
    pending::{Pending, Target},
};
use crate::{
    engine::{
        recent,
        stream::{Run, Stream},
    },
    log_throttle::LogThrottle,
    storage::{Changed, Feed, MAX_REFRESHED, Position, StorageError, Stored, StreamId},
};

/// Bytes that one call reads for live readers.
const MAX_FETCHED_BYTES: u64 = 8 * 1024 * 1024;
/// The wait after a failure, which doubles up to [`MAX_RETRY_INTERVAL`].
const MIN_RETRY_INTERVAL: Duration = Duration::from_millis(100);
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Bytes to fetch for live readers.
struct Fetch {
    stream: Arc<Stream>,
    range: Range<Position>,
    /// What the store has of the stream, if that was read.
    stored: Option<Stored>,
}

impl Feed for Sharing {
    fn changed(&self, changes: &[Changed]) {
        self.watch.changed_elsewhere(changes);
        let followed = self.registry.known(changes);
        if followed.is_empty() {
            return;
        }
        self.news.note(|pending| {
            for change in followed {
                pending.changed.entry(change.id).or_default().merge(change);
            }
        });
    }

    fn happened_late(&self, changes: &[Changed]) {
        self.changed(changes);
        self.watch.happened_late();
    }

    fn missed(&self) {
        self.watch.missed();
        self.news.note(|pending| pending.all = true);
    }

    fn restored(&self) {
        self.watch.restored();
        self.news.note(|pending| pending.restored = true);
    }
}

impl Drop for Sharing {
    /// Ends the task.
    fn drop(&mut self) {
        self.news.added.notify_one();
    }
}

/// Publishes the news until the engine is gone.
async fn deliver(sharing: Weak<Sharing>, stopped: CancellationToken) {
    let Some(added) = sharing.upgrade().map(|sharing| Arc::clone(&sharing.news.added)) else {
        return;
    };
    let (failures, mut delay) = (LogThrottle::default(), MIN_RETRY_INTERVAL);
    loop {
        tokio::select! {
            () = added.notified() => {}
            () = stopped.cancelled() => return,
        }
        let Some(sharing) = sharing.upgrade() else { return };
        let Err(error) = sharing.deliver_pending().await else {
            delay = MIN_RETRY_INTERVAL;
            continue;
        };
        if let Some(suppressed) = failures.allow("news") {
            tracing::warn!(%error, suppressed, "could not read what other servers have changed; will retry");
        }
        sharing.news.added.notify_one();
        drop(sharing);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stopped.cancelled() => return,
        }
        delay = (2 * delay).min(MAX_RETRY_INTERVAL);
    }
}

#[cfg(test)]
impl Sharing {
    /// Does what the task does.
    pub(in crate::engine) async fn deliver_now(self: &Arc<Self>) -> Result<(), StorageError> {
        self.deliver_pending().await
    }
}

impl Sharing {
    /// Receives the news of the other servers until `stopped`.
    pub(in crate::engine) fn start(self: &Arc<Self>, stopped: CancellationToken) {
        let feed: Weak<dyn Feed> = Arc::<Self>::downgrade(self);
        if let Some(store) = self.storage.shared() {
            store.follow(feed);
        }
        tokio::spawn(deliver(Arc::downgrade(self), stopped));
    }

    async fn deliver_pending(self: &Arc<Self>) -> Result<(), StorageError> {
        loop {
            let pending = std::mem::take(&mut *self.news.pending.lock());
            if pending.is_empty() {
                return Ok(());
            }
            if !self.storage.blocking() {
                self.publish(pending)?;
                continue;
            }
            let sharing = Arc::clone(self);
            let published = tokio::task::spawn_blocking(move || sharing.publish(pending)).await;
            match published {
                Ok(published) => published?,
                // The blocking thread panicked, or the runtime stops.
                Err(_) => self.news.pending.lock().all = true,
            }
        }
    }

    /// Publishes the news. Those that could not be read are pending again after a failure.
    fn publish(&self, mut pending: Pending) -> Result<(), StorageError> {
        if let Err(error) = self.notice_history() {
            self.news.pending.lock().restored = true;
            pending.all = true;
            self.put_back(pending);
            return Err(error);
        }
        let (former, failed) = self.report_losses(std::mem::take(&mut pending.former));
        if let Some(error) = failed {
            pending.former = former;
            self.put_back(pending);
            return Err(error);
        }
        if pending.all {
            for id in self.registry.ids() {
                pending.changed.entry(id).or_default().must_read = true;
            }
        }
        let result = self.publish_changed(&pending.changed);
        if result.is_err() {
            self.put_back(pending);
        }
        result
    }

    /// What was taken must be read, whatever was known of it.
    fn put_back(&self, taken: Pending) {
        let mut pending = self.news.pending.lock();
        pending.all |= taken.all;
        pending.former.extend(taken.former);
        for id in taken.changed.into_keys() {
            pending.changed.entry(id).or_default().must_read = true;
        }
    }

    fn publish_changed(&self, changed: &HashMap<StreamId, Target>) -> Result<(), StorageError> {
        let (mut reads, mut fetches) = (Vec::new(), Vec::new());
        for (id, target) in changed {
            let Some(stream) = self.registry.get(*id) else { continue };
            let (rev, tail) = stream.version();
            let is_large = target.tail.saturating_sub(tail) > recent::MAX_BYTES as u64;
            if target.must_read || target.rev > rev || is_large {
                reads.push(stream);
            } else if target.tail > tail {
                let range = tail..target.tail;
                let stored = None;
                fetches.push(Fetch { stream, range, stored });
            }
        }
        for page in reads.chunks(MAX_REFRESHED) {
            self.read_records(page, &mut fetches)?;
        }
        let mut again = Vec::new();
        while !fetches.is_empty() {
            let page = next_page(&mut fetches);
            self.fetch(page, &mut again)?;
        }
        if !again.is_empty() {
            self.news.refresh(again.into_iter());
        }
        Ok(())
    }

    fn read_records(&self, streams: &[Arc<Stream>], fetches: &mut Vec<Fetch>) -> Result<(), StorageError> {
        let names: Vec<_> = streams.iter().map(|stream| stream.name.clone()).collect();
        let ticket = self.cache.ticket();
        let stored = self.store()?.refresh(&names)?;
        self.check_history()?;
        for (stream, stored) in streams.iter().zip(stored) {
            if !self.is_present(stream) {
                continue;
            }
            match stored {
                // A reader that reads it is told.
                Err(error) => tracing::debug!(stream = %stream.name, %error, "a followed stream cannot be read"),
                Ok(Some(stored)) if stored.record.id == stream.id => {
                    let range = stream.version().1..stored.tail;
                    let is_small = range.end.saturating_sub(range.start) <= recent::MAX_BYTES as u64;
                    if range.is_empty() || !is_small {
                        stream.take_over(stored, None);
                        // Readers to whom the store was away try again.
                        stream.wake();
                    } else {
                        fetches.push(Fetch {
                            stream: Arc::clone(stream),
                            range,
                            stored: Some(stored),
                        });
                    }
                }
                Ok(stored) => {
                    self.cache.refreshed(&stream.name, stored, ticket, self.clock.millis());
                }
            }
        }
        Ok(())
    }

    /// Whether a stream is of the present history. The readers of one that is not look for another one.
    fn is_present(&self, stream: &Stream) -> bool {
        stream.origin().history == self.cache.history()
    }

    fn fetch(&self, page: Vec<Fetch>, again: &mut Vec<StreamId>) -> Result<(), StorageError> {
        let ranges: Vec<_> = page
            .iter()
            .map(|fetch| (fetch.stream.id, fetch.range.clone()))
            .collect();
        let runs = self.store()?.read_many(&ranges)?;
        self.check_history()?;
        for (Fetch { stream, range, stored }, bytes) in page.into_iter().zip(runs) {
            if !self.is_present(&stream) {
                continue;
            }
            let is_whole = bytes.len() as u64 == range.end - range.start;
            let run = is_whole.then_some(Run {
                start: range.start,
                bytes,
            });
            match (stored, run) {
                (Some(stored), run) => stream.take_over(stored, run),
                (None, Some(run)) => stream.extend(run),
                // Trimmed or removed meanwhile, or of a lost history.
                (None, None) => again.push(stream.id),
            }
        }
        Ok(())
    }
}

/// Takes as many fetches as one call may have.
fn next_page(fetches: &mut Vec<Fetch>) -> Vec<Fetch> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(fetch) = fetches.pop() {
        bytes += fetch.range.end - fetch.range.start;
        page.push(fetch);
        if page.len() == MAX_REFRESHED || bytes >= MAX_FETCHED_BYTES {
            break;
        }
    }
    page
}
