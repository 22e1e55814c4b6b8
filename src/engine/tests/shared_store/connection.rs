//! One server's view of the store, and what tests may do to it.

use std::ops::Range;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::*;
use crate::storage::{Lookup, Position, SharedStore, Usage, WriterState};

impl Connection {
    /// From now on, news wait until they are delivered.
    pub(crate) fn hold_news(&self) {
        self.inbox.is_held.store(true, SeqCst);
    }

    /// How many commits' news are on their way.
    pub(in crate::engine::tests) fn news_held(&self) -> usize {
        self.inbox.news.lock().len()
    }

    /// Delivers the news of one commit: the oldest of the server that made the `index`-th. Delivers
    /// them twice if `twice`.
    pub(in crate::engine::tests) fn deliver(&self, index: usize, twice: bool) {
        let mut news = self.inbox.news.lock();
        let Some(lane) = news.get(index).map(|(lane, _)| *lane) else {
            return;
        };
        let oldest = news.iter().position(|(other, _)| *other == lane).unwrap();
        let (_, changes) = news.remove(oldest).unwrap();
        drop(news);
        let feed = self.feed();
        (0..=usize::from(twice)).for_each(|_| feed.changed(&changes));
    }

    /// Has this server have a duty from now on, and no other.
    pub(crate) fn takes(&self, duty: Duty) {
        self.shared.duties.lock().insert(duty, self.number);
    }

    /// Loses the news that are on their way, and tells the server that it missed some.
    pub(crate) fn lose_news(&self) {
        self.inbox.news.lock().clear();
        self.feed().missed();
    }

    /// Makes the commit that was not made when its outcome was asked for.
    pub(crate) fn commit_late(&self) {
        let groups = std::mem::take(&mut *self.late.lock());
        let committed = groups.iter().map(|group| self.shared.commit(group, false).unwrap());
        let verdicts: Vec<Verdict> = committed.collect();
        let is_committed = |verdict: &Verdict| matches!(verdict, Verdict::Committed(_));
        assert!(verdicts.iter().all(is_committed), "{verdicts:?}");
        let changed = self.publish(&groups, &verdicts);
        self.feed().happened_late(&changed);
    }

    /// The store is reached again.
    pub(crate) fn come_back(&self) {
        self.away.store(false, SeqCst);
        self.feed().missed();
    }

    fn feed(&self) -> Arc<dyn Feed> {
        let receivers = self.shared.receivers.lock();
        let own = receivers.iter().find(|receiver| receiver.inbox.number == self.number);
        own.and_then(|own| own.feed.upgrade()).unwrap()
    }

    fn check(&self) -> Result<(), StorageError> {
        let checked = self.check_for_duties();
        self.refused.fetch_add(usize::from(checked.is_err()), SeqCst);
        checked
    }

    fn check_for_duties(&self) -> Result<(), StorageError> {
        match self.away.load(SeqCst) {
            true => Err(StorageError::Away("as the test wants it".into())),
            false => Ok(()),
        }
    }

    /// Tells the servers what a commit has changed.
    fn publish(&self, groups: &[Group], verdicts: &[Verdict]) -> Vec<Changed> {
        let mut changed = HashSet::new();
        for (group, verdict) in groups.iter().zip(verdicts) {
            if matches!(verdict, Verdict::Committed(_)) {
                changed.extend(group.changes.iter().map(|change| match change {
                    Change::Put { record, .. } => record.id,
                    Change::Append { id, .. } | Change::Writer { id, .. } | Change::Remove { id, .. } => *id,
                }));
            }
        }
        if changed.is_empty() {
            return Vec::new();
        }
        let streams = self.shared.streams.lock();
        let changed = changed.into_iter().map(|id| {
            let stored = self.shared.stored(&streams, id);
            Changed {
                id,
                rev: stored.as_ref().map_or(0, |stored| stored.rev),
                tail: stored.as_ref().map_or(0, |stored| stored.tail),
                gone: stored.is_none(),
            }
        });
        let changed: Vec<Changed> = changed.collect();
        drop(streams);
        let receivers = self.shared.receivers.lock().clone();
        let echoes = self.shared.echoes.load(SeqCst);
        for Receiver { inbox, feed } in receivers {
            if inbox.number == self.number && !echoes {
                continue;
            }
            if inbox.is_held.load(SeqCst) {
                inbox.news.lock().push_back((self.number, changed.clone()));
            } else if let Some(feed) = feed.upgrade() {
                feed.changed(&changed);
            }
        }
        changed
    }
}

impl Storage for Connection {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        self.check()?;
        let streams = self.shared.streams.lock();
        let stored = self.shared.inner().get(name)?;
        Ok(stored.and_then(|stored| self.shared.stored(&streams, stored.record.id)))
    }

    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        self.check()?;
        self.shared.inner().writers(id)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        run(&self.before_list);
        self.check()?;
        self.shared.inner().list(prefix, after, limit)
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        self.check()?;
        self.shared.inner().due(now, limit)
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        self.check()?;
        self.reads.fetch_add(1, SeqCst);
        self.shared.inner().read(id, range)
    }

    fn is_current(&self, name: &StreamName, id: StreamId, from: Position) -> Result<bool, StorageError> {
        Ok(self.get(name)?.is_some_and(|stored| stored.has(id, from)))
    }

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        let history = self.history();
        run(&self.before_commit);
        self.check()?;
        if self.takes_no_writes.load(SeqCst) {
            return Err(StorageError::Away("it takes no writes".into()).into());
        }
        let unknown = self.unknown.lock().take();
        let lost = || CommitError::Unknown("as the test wants it".into());
        if history != self.history() || unknown == Some(false) {
            *self.late.lock() = groups.to_vec();
            return Err(lost());
        }
        let mut verdicts = Vec::new();
        for group in groups {
            let take = |left: usize| left.checked_sub(1);
            let force_move = !group.changes.is_empty() && self.forced_moves.fetch_update(SeqCst, SeqCst, take).is_ok();
            verdicts.push(self.shared.commit(group, force_move)?);
        }
        self.publish(groups, &verdicts);
        let committed = verdicts.iter().map(|verdict| matches!(verdict, Verdict::Committed(_)));
        self.commits.lock().push(committed.collect());
        run(&self.after_commit);
        match unknown {
            Some(_) => Err(lost()),
            None => Ok(Verdicts::Each(verdicts)),
        }
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }

    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        self.check()?;
        self.shared.inner().reserve_ids(count, lowest)
    }

    fn maintain(&self) -> Result<bool, CommitError> {
        self.check()?;
        self.maintained.fetch_add(1, SeqCst);
        self.shared.inner().maintain()
    }

    fn usage(&self) -> Usage {
        self.shared.inner().usage()
    }

    fn blocking(&self) -> bool {
        self.blocking
    }
}

impl SharedStore for Connection {
    fn clock(&self) -> Clock {
        self.shared.clock.clone()
    }

    fn history(&self) -> u64 {
        self.shared.history.load(SeqCst)
    }

    fn commit_in(&self, history: u64, groups: &[Group]) -> Result<Verdicts, CommitError> {
        if history != self.history() {
            return Err(StorageError::Away("the history has changed".into()).into());
        }
        self.commit(groups)
    }

    fn refresh(&self, names: &[StreamName]) -> Result<Vec<Lookup>, StorageError> {
        self.check()?;
        self.refreshes.lock().push(names.len());
        let found = names.iter().map(|name| match self.damaged.lock().as_ref() {
            Some(damaged) if damaged == name => Err(StorageError::Corrupt("as the test wants it".into())),
            _ => self.get(name),
        });
        let found = found.collect();
        run(&self.after_refresh);
        Ok(found)
    }

    fn refresh_async<'s>(&'s self, names: &'s [StreamName]) -> BoxFuture<'s, Result<Vec<Lookup>, StorageError>> {
        Box::pin(async { self.refresh(names) })
    }

    fn read_many(&self, ranges: &[(StreamId, Range<Position>)]) -> Result<Vec<Bytes>, StorageError> {
        self.check()?;
        self.reads_of_many.lock().push(ranges.len());
        let inner = self.shared.inner();
        ranges
            .iter()
            .map(|(id, range)| inner.read(*id, range.clone()))
            .collect()
    }

    fn follow(&self, feed: Weak<dyn Feed>) {
        let inbox = Arc::clone(&self.inbox);
        self.shared.receivers.lock().push(Receiver { inbox, feed });
    }

    fn take_duty(&self, duty: Duty) -> Result<bool, StorageError> {
        self.check_for_duties()?;
        Ok(*self.shared.duties.lock().entry(duty).or_insert(self.number) == self.number)
    }
}
