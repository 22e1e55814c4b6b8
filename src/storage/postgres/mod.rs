//! Streams in PostgreSQL, shared by any number of servers.
//!
//! | module | |
//! |---|---|
//! | [`options`], [`target`], [`session`], [`connections`] | URLs, new connections and their checks, connections in use |
//! | [`schema`], `sql/` | tables and functions |
//! | [`batch`], [`commit`], [`outcome`] | groups as arrays, commits and their outcomes |
//! | [`reads`] | lookups of streams and bytes |
//! | [`encoding`], [`failure`] | values and errors of the database |
//! | [`clock`], [`usage`], [`figures`] | the database's clock, the contents of the store, metrics |
//! | [`news`], [`notifier`], [`listener`] | the changes of other servers |
//! | [`tools`] | copies from and to a database, and its check |
//!
//! Calls block. The client is asynchronous and runs on a thread of the store's own, except that of fresh
//! reads, which runs on the runtime that serves requests.

mod batch;
mod clock;
mod commit;
mod connections;
mod encoding;
mod failure;
mod figures;
mod listener;
mod news;
mod notifier;
mod options;
mod outages;
mod outcome;
mod reads;
mod schema;
mod session;
mod shared;
mod target;
#[cfg(test)]
mod tests;
pub(crate) mod tools;
mod usage;

use std::{
    ops::Range,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio_postgres::types::Type;

pub(crate) use self::options::check_url;
use self::{
    batch::Batch,
    clock::StoreClock,
    commit::Lane,
    connections::{Connections, Purpose},
    encoding::{decode_writer, end_of, signed, stored, stream_name, unsigned},
    failure::Failure,
    notifier::Notifier,
    outcome::{Committed, News, get},
    target::Target,
    usage::{Growth, UsageCount},
};
pub use self::{options::PostgresOptions, schema::schema};
use super::{
    CommitError, Feed, Group, Position, SharedStore, Storage, StorageError, Stored, StreamId, Usage, Verdicts,
    WriterState,
};
use crate::{
    clock::Clock,
    protocol::{Millis, StreamName},
};

/// Longest wait for the schema, which another server may be creating.
const SCHEMA_TIMEOUT: Duration = Duration::from_secs(30);
/// How often upkeep looks for work that other servers have left.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How long the log is trimmed before the rest of upkeep has its turn.
const MAX_TRIM: Duration = Duration::from_secs(1);

/// The mode `postgres`: streams in a database, which any number of servers share.
pub struct PostgresStorage {
    core: Arc<Core>,
    runtime: Option<Runtime>,
}

/// What calls and background tasks share.
struct Core {
    connections: Connections,
    lane: tokio::sync::Mutex<Lane>,
    lane_id: AtomicI64,
    clock: Arc<StoreClock>,
    usage: UsageCount,
    notifier: Notifier,
    feed: Arc<OnceLock<Weak<dyn Feed>>>,
    listen: Target,
    upkeep: Mutex<Instant>,
    has_garbage: AtomicBool,
}

impl PostgresStorage {
    /// Connects, and creates the schema if it is missing. Blocks: on a thread of an async runtime, call it by
    /// `spawn_blocking`.
    ///
    /// # Errors
    /// If the URL is wrong, the database cannot be reached, or it cannot be used.
    pub fn connect(options: &PostgresOptions) -> Result<Self, StorageError> {
        Self::open(options, Clock::system())
    }

    /// As [`Self::connect`], by another clock than the system's.
    pub(crate) fn open(options: &PostgresOptions, clock: Clock) -> Result<Self, StorageError> {
        let storage = Self::new(options, clock)?;
        storage.block(Arc::clone(&storage.core).start())??;
        Ok(storage)
    }

    /// A store that must be started.
    pub(crate) fn new(options: &PostgresOptions, clock: Clock) -> Result<Self, StorageError> {
        let target = |key: &str, url: &str| {
            url.parse::<Target>()
                .map_err(|error| StorageError::InvalidUrl(format!("{key} {error}")))
        };
        let connect = target("storage.url", &options.url)?;
        let listen = match &options.listen_url {
            Some(url) => target("storage.listen_url", url)?,
            None => connect.clone(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|source| StorageError::Io {
                context: "starting the thread for PostgreSQL".to_owned(),
                source,
            })?;
        let feed: Arc<OnceLock<Weak<dyn Feed>>> = Arc::default();
        let followers = Arc::clone(&feed);
        let store_clock = Arc::new(StoreClock::new(clock.clone()));
        let restarted = Arc::clone(&store_clock);
        let on_history = move || {
            restarted.restart();
            if let Some(feed) = followers.get().and_then(Weak::upgrade) {
                feed.restored();
            }
        };
        let core = Arc::new(Core {
            connections: Connections::new(connect, clock.clone(), Box::new(on_history)),
            lane: tokio::sync::Mutex::new(Lane::new(options.name.clone())),
            lane_id: AtomicI64::new(0),
            upkeep: Mutex::new(clock.instant()),
            clock: store_clock,
            usage: UsageCount::default(),
            notifier: Notifier::default(),
            feed,
            listen,
            has_garbage: AtomicBool::new(true),
        });
        Ok(Self {
            core,
            runtime: Some(runtime),
        })
    }

    /// Connects, creates the schema if it is missing, and begins a lane. After a failure, it may be called again.
    pub(crate) async fn start(&self) -> Result<(), StorageError> {
        let closed = || StorageError::Away("the store is closed".to_owned());
        let runtime = self.runtime.as_ref().ok_or_else(closed)?;
        let started = runtime.spawn(Arc::clone(&self.core).start()).await;
        started.map_err(|_| closed())?
    }

    /// Waits for an asynchronous operation. Callers are on threads that may block.
    fn block<T>(&self, operation: impl Future<Output = T>) -> Result<T, StorageError> {
        match &self.runtime {
            Some(runtime) => Ok(runtime.handle().block_on(operation)),
            None => Err(StorageError::Away("the store is closed".to_owned())),
        }
    }
}

impl Drop for PostgresStorage {
    fn drop(&mut self) {
        // A runtime may not be dropped by a task of another one, which might wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Core {
    async fn start(self: Arc<Self>) -> Result<(), StorageError> {
        let session = self.connections.session(&self.connections.commits).await?;
        let ensured = tokio::time::timeout(SCHEMA_TIMEOUT, schema::ensure(&session.client)).await;
        if !matches!(ensured, Ok(Ok(()))) {
            self.connections.give_up(&self.connections.commits, &session).await;
        }
        ensured.map_err(|_| StorageError::Away(format!("no schema within {SCHEMA_TIMEOUT:?}")))??;
        // The schema is a part of the history.
        self.connections.check_history().await;
        let mut lane = self.lane.lock().await;
        lane.register(&self.connections).await?;
        self.begin_lane(lane.id());
        drop(lane);
        // Before any lifetime is judged.
        self.ask_time().await?;
        self.count_once().await?;
        drop(tokio::spawn(Arc::clone(&self).count()));
        drop(tokio::spawn(Arc::clone(&self).settle()));
        drop(tokio::spawn(self.notify()));
        Ok(())
    }

    async fn commit(&self, judged_in: u64, groups: &[Group]) -> Result<Verdicts, CommitError> {
        let mut lane = self.lane.lock().await;
        let mut verdicts = Vec::with_capacity(groups.len());
        let mut groups = groups.iter().peekable();
        while groups.peek().is_some() {
            let mut batch = Batch::default();
            while let Some(group) = groups.peek()
                && batch.add(group)?
            {
                groups.next();
            }
            let committed = lane.commit(&self.connections, &self.clock, judged_in, &batch).await;
            self.note(&mut lane);
            match committed {
                Ok(committed) => verdicts.extend(self.committed(lane.id(), &batch, committed)),
                // Groups that came before are committed.
                Err(error) if !verdicts.is_empty() => return Err(CommitError::Unknown(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(Verdicts::Each(verdicts))
    }

    /// Takes note of a commit, and has the other servers told.
    fn committed(&self, lane: i64, batch: &Batch, committed: Committed) -> Vec<super::Verdict> {
        if let Some(news) = committed.news {
            self.tell(lane, news);
        }
        let figures = &self.connections.figures;
        figures.commits.add(1);
        let moved = committed
            .verdicts
            .iter()
            .filter(|verdict| matches!(verdict, super::Verdict::Moved(_)));
        let moved = moved.count();
        figures.moved_groups.add(moved as u64);
        figures.committed_groups.add((committed.verdicts.len() - moved) as u64);
        if batch.makes_garbage() {
            self.has_garbage.store(true, Ordering::Release);
        }
        committed.verdicts
    }

    fn tell(&self, lane: i64, news: News) {
        self.usage.committed(Growth {
            lane,
            n: news.n,
            streams: news.streams,
            bytes: news.bytes,
        });
        self.notifier.push(lane, news.n, news.changes);
    }

    /// Takes note of what the lane has found out. This server's live readers hear of a late commit by the feed,
    /// as of those of other servers.
    fn note(&self, lane: &mut Lane) {
        for (of, news) in lane.take_late() {
            if let Some(feed) = self.feed.get().and_then(Weak::upgrade) {
                feed.happened_late(&news.changes);
            }
            self.tell(of, news);
        }
        if lane.id() != self.lane_id() {
            self.begin_lane(lane.id());
        }
    }

    fn begin_lane(&self, lane: i64) {
        self.lane_id.store(lane, Ordering::Release);
        self.usage.reset();
    }

    fn lane_id(&self) -> i64 {
        self.lane_id.load(Ordering::Acquire)
    }

    async fn upkeep(&self) -> Result<bool, CommitError> {
        // Apart, so that neither keeps the other from being done. The log comes first: all servers read it.
        const TRIM_LOG: &str = "select durable_streams.trim_log_v1(), set_config('synchronous_commit', 'local', true)";
        const UPKEEP: &str = "select durable_streams.upkeep_v2(), set_config('synchronous_commit', 'local', true)";
        let now = self.clock.local().instant();
        if !self.has_garbage.load(Ordering::Acquire) && now < *self.upkeep.lock() {
            return Ok(false);
        }
        let mut trimmed = self.upkeep_step(TRIM_LOG).await;
        while matches!(trimmed, Ok(true)) && self.clock.local().instant() < now + MAX_TRIM {
            trimmed = self.upkeep_step(TRIM_LOG).await;
        }
        let upkept = self.upkeep_step(UPKEEP).await;
        let is_pending = trimmed? | upkept?;
        if !is_pending {
            self.has_garbage.store(false, Ordering::Release);
            *self.upkeep.lock() = now + UPKEEP_INTERVAL;
        }
        Ok(is_pending)
    }

    /// Whether there is more to do.
    async fn upkeep_step(&self, step: &str) -> Result<bool, StorageError> {
        match self.connections.read_for(Purpose::Upkeep, step, &[]).await {
            Ok(rows) => Ok(rows.first().map_or(Ok(false), |row| get(row, 0))?),
            // Another server holds a lock.
            Err(failure) if failure.is_passing() => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Storage for PostgresStorage {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        let found = self.block(self.core.streams(Purpose::Lookups, &[name.key()]))??;
        found.into_iter().next().unwrap_or(Ok(None))
    }

    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        const WRITERS: &str = "select key, progress, used_at from durable_streams.writers_v1($1)";
        let id = signed(id);
        let rows = self.block(self.core.connections.read(WRITERS, &[(&id, Type::INT8)]))??;
        let writer = |row| decode_writer(get(row, 0)?, get(row, 1)?, get(row, 2)?);
        rows.iter().map(writer).collect()
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        const LIST: &str = "select name, record, rev, tail from durable_streams.list_v1($1, $2, $3, $4)";
        let (after, below, limit) = (after.unwrap_or(""), end_of(prefix), signed(limit as u64));
        let parameters = [
            (&prefix as _, Type::TEXT),
            (&after as _, Type::TEXT),
            (&below as _, Type::TEXT),
            (&limit as _, Type::INT8),
        ];
        let rows = self.block(self.core.connections.read_for(Purpose::Bytes, LIST, &parameters))??;
        let stream = |row| {
            let name = get(row, 0)?;
            Ok((
                stream_name(name)?,
                stored(name, get(row, 1)?, get(row, 2)?, get(row, 3)?)?,
            ))
        };
        rows.iter().map(stream).collect()
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        const DUE: &str = "select name from durable_streams.due_v1($1, $2)";
        let (now, limit) = (signed(now), signed(limit as u64));
        let parameters = [(&now as _, Type::INT8), (&limit as _, Type::INT8)];
        let rows = self.block(self.core.connections.read_for(Purpose::Upkeep, DUE, &parameters))??;
        rows.iter().map(|row| stream_name(get(row, 0)?)).collect()
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        let read = self.block(self.core.ranges(&[(id, range)]))??;
        Ok(read.into_iter().next().unwrap_or_default())
    }

    fn is_current(&self, name: &StreamName, id: StreamId, from: Position) -> Result<bool, StorageError> {
        Ok(self.get(name)?.is_some_and(|stored| stored.has(id, from)))
    }

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        self.commit_in(self.history(), groups)
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }

    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        // A commit that uses one of the ids waits for the standbys, and so for this.
        const IDS: &str = "select durable_streams.ids_v1($1, $2), set_config('synchronous_commit', 'local', true)";
        let (count, lowest) = (signed(count), signed(lowest));
        let parameters = [(&count as _, Type::INT8), (&lowest as _, Type::INT8)];
        // Reserved twice, a block is lost, which does no harm.
        let rows = self.block(self.core.connections.read(IDS, &parameters))?;
        let rows = rows.map_err(StorageError::from)?;
        let row = rows.first().ok_or_else(|| Failure::Malformed("no ids".to_owned()));
        let first = row.and_then(|row| get(row, 0)).map_err(StorageError::from)?;
        Ok(unsigned(first))
    }

    fn maintain(&self) -> Result<bool, CommitError> {
        self.block(self.core.upkeep())?
    }

    fn usage(&self) -> Usage {
        self.core.usage.usage()
    }
}
