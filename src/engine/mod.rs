//! The protocol's rules: streams, appends, reads, live waiting, producers, forks, expiry.
//!
//! The engine knows nothing of HTTP or tokens. Below it is a [`Storage`], which knows no rules.
//! Everything that changes a stream goes through one committer; reads bypass it.
//!
//! | operation | file |
//! |---|---|
//! | [`Engine::create`], with its forks | `create.rs`, `fork.rs` |
//! | [`Engine::append`], which also closes | `append.rs` |
//! | [`Engine::delete`] | `delete.rs` |
//! | [`Engine::read`]: catch-up | `catch_up.rs` |
//! | [`Engine::follow`]: long-poll, SSE | `follow.rs` |
//! | [`Engine::read_stored`]: export | `stored.rs` |
//! | [`Engine::metadata`] | `metadata.rs` |
//! | [`Engine::list`] | `list.rs` |
//! | [`Engine::write_log`], [`Engine::read_log`]: the server's own streams | `log.rs` |
//! | [`Engine::extent`]: where a stream begins and ends | `extent.rs` |
//!
//! A write:
//!
//! | file | part |
//! |---|---|
//! | `offload.rs` | converts a large body to its stored form |
//! | `command.rs` | a change with a reply type, and the queued form of it |
//! | `committer.rs`, `pacing.rs` | the queue, the thread, failed commits; the size of a batch |
//! | `transaction.rs`, `staged.rs` | a batch before its commit, and one stream in it |
//! | `loads.rs` | the store as a batch reads it |
//! | `writers/`, `producers.rs` | what a stream knows of its writers; the rules of producers |
//! | `judged.rs` | what a batch was judged on, for a store that several servers share |
//! | `sharing/` | fresh reads, news and duties, for such a store |
//! | `upkeep.rs` | its maintenance, by one server for all |
//! | `ids.rs`, `answers.rs` | ids of new streams; replies |
//! | `watch.rs` | tells subscriptions which streams have changed |
//!
//! A read:
//!
//! | file | part |
//! |---|---|
//! | `cache.rs`, `stream.rs` | the streams in use; a [`Stream`] |
//! | `snapshot.rs` | a stream at one moment, which resolves offsets |
//! | `read_chunk.rs` | a [`Chunk`] from the cache or from the store |
//! | `load.rs`, `joined.rs`, `text.rs` | bytes of the store to a chunk, cut between messages, appends or characters |
//! | `chunk_cache.rs`, `recent.rs` | chunks that all readers share; the latest ones of one stream, for live reads |
//! | `reader.rs` | counts a stream's readers |
//!
//! The passage of time:
//!
//! | file | part |
//! |---|---|
//! | `sweeper.rs`, `expire.rs` | finds due and idle streams; the commands that it sends |
//! | `expiry.rs`, `retention/` | lifetimes and retention, as functions of a record |
//! | `trim.rs`, `cut.rs` | applies retention to a staged stream; where it may cut |
//!
//! Errors that operations share are in `errors.rs` and `read_error.rs`. `limits.rs` declares all of
//! `[limits]`, also the keys that only the listener or the handlers use.
//!
//! Words: a *writer* is a producer, or a token's own `Stream-Seq`. A *life* is a run of positions
//! that one *incarnation* issued; a fork, an import and a repaired stream have several. A group
//! has *moved* when another server changed what it was judged on.

mod answers;
mod append;
mod cache;
mod catch_up;
mod chunk;
mod chunk_cache;
mod command;
mod committer;
mod create;
mod cut;
mod delete;
mod errors;
mod expire;
mod expiry;
mod extent;
mod follow;
mod fork;
mod ids;
mod joined;
mod judged;
mod limits;
mod list;
mod load;
mod loads;
mod log;
mod maintenance;
mod metadata;
mod offload;
mod pacing;
mod producers;
mod read_chunk;
mod read_error;
mod reader;
mod recent;
mod retention;
mod sharing;
mod snapshot;
mod staged;
mod stored;
mod stream;
mod sweeper;
mod text;
mod transaction;
mod trim;
mod upkeep;
mod watch;
mod writers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

pub use append::{AppendError, AppendRequest};
pub use catch_up::{CatchUp, Pieces};
pub use chunk::Chunk;
pub use create::{CreateError, CreateRequest, PastError};
pub use delete::DeleteError;
pub use errors::Unavailable;
pub use extent::Extent;
pub use follow::{Event, Follower, ReadState};
pub use fork::{ForkError, ForkRequest};
pub use limits::{EngineConfig, LimitsConfig, RetentionConfig, RetentionRule};
pub use list::{Listed, Listing};
pub use log::{LogChange, LogError, LogWrite};
#[cfg(test)]
pub use metadata::Metadata;
pub use read_error::ReadError;

use cache::StreamCache;
use chunk_cache::ChunkCache;
pub(crate) use chunk_cache::LARGE_CHUNK;
use command::{Command, Reply, Request};
use committer::Committer;
use expire::{Expire, Touch};
use maintenance::Maintenance;
use sharing::Sharing;
pub use snapshot::Identity;
use stream::Stream;
pub use watch::Watcher;
pub use writers::WriterScope;

use crate::{
    clock::Clock,
    protocol::StreamName,
    storage::{SharedStore, Storage, StoreFigures, Usage},
    telemetry::Metrics,
};

/// All streams of one store. Cheap to clone; clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    storage: Arc<dyn Storage>,
    cache: Arc<StreamCache>,
    /// `None`: the store has one holder.
    sharing: Option<Arc<Sharing>>,
    chunks: ChunkCache,
    max_read_bytes: Option<u64>,
    committer: Arc<Committer>,
    offload: offload::Offload,
    retention: Arc<[RetentionRule]>,
    watch: Arc<watch::Watch>,
    /// How many of the stored streams are logs.
    logs: AtomicU64,
    maintenance: Arc<Maintenance>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stopped: CancellationToken,
}

impl Shared {
    /// Stops the threads. Returns their handles, to be joined.
    fn stop_threads(&self) -> Vec<JoinHandle<()>> {
        self.committer.stop();
        self.maintenance.stop();
        std::mem::take(&mut self.threads.lock())
    }
}

impl Drop for Shared {
    /// Stops the threads and waits for them: the store must be closed once its last owner is gone,
    /// so that it can be opened again.
    fn drop(&mut self) {
        // The committer itself may drop the last handle, and a thread cannot join itself.
        let others = self.stop_threads().into_iter();
        join(others.filter(|thread| thread.thread().id() != std::thread::current().id()));
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn join(threads: impl IntoIterator<Item = JoinHandle<()>>) {
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            tracing::error!("the thread `{name}` panicked");
        }
    }
}

impl Engine {
    /// Starts the committer and the sweeper. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        storage: Arc<dyn Storage>,
        config: EngineConfig,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let history = storage.shared().map(SharedStore::history);
        // Servers that share a store share its clock.
        let clock = storage.shared().map_or(clock, SharedStore::clock);
        let cache = Arc::new(StreamCache::new(history));
        let watch = Arc::<watch::Watch>::default();
        let sharing = Sharing::of(&storage, &cache, &watch, &clock);
        let (retention, chunks) = (Arc::clone(&config.retention), ChunkCache::new(config.cache_bytes));
        let max_read_bytes = config.limits.read_bytes();
        let offload = offload::Offload::new(config.limits.max_json_depth);
        let committer = Arc::new(Committer::new(
            Arc::clone(&storage),
            Arc::clone(&cache),
            sharing.clone(),
            Arc::clone(&watch),
            config,
            metrics,
            clock.clone(),
        ));
        let maintenance = Arc::<Maintenance>::default();
        let mut threads = Vec::new();
        if sharing.is_none() {
            let (maintenance, storage, clock) = (Arc::clone(&maintenance), Arc::clone(&storage), clock.clone());
            let committer = Arc::clone(&committer);
            let run = move || maintenance.run(&storage, &clock, || committer.stop());
            threads.push(spawn("maintenance", run)?);
        }
        let (run, notified) = (Arc::clone(&committer), Arc::clone(&maintenance));
        let started = spawn("committer", move || run.run(&notified)).inspect_err(|_| maintenance.stop());
        threads.push(started?);
        let shared = Shared {
            clock,
            storage,
            cache,
            sharing,
            chunks,
            max_read_bytes,
            committer,
            offload,
            retention,
            watch,
            logs: AtomicU64::new(0),
            maintenance,
            threads: Mutex::new(threads),
            stopped: CancellationToken::new(),
        };
        let engine = Self {
            shared: Arc::new(shared),
        };
        if let Some(sharing) = &engine.shared.sharing {
            sharing.start(engine.shared.stopped.clone());
            tokio::spawn(upkeep::maintain(
                Arc::downgrade(&engine.shared),
                engine.shared.stopped.clone(),
            ));
        }
        tokio::spawn(sweeper::sweep(
            Arc::downgrade(&engine.shared),
            engine.shared.stopped.clone(),
        ));
        let rules = Arc::clone(&engine.shared.retention);
        if !rules.is_empty() {
            tokio::spawn(sweeper::apply_rules(Arc::downgrade(&engine.shared), rules));
        }
        Ok(engine)
    }

    /// Refuses further changes, commits the queued ones, and returns when that is done.
    pub async fn stop(&self) {
        self.shared.stopped.cancel();
        // Otherwise streams that were just read would expire early after the next start.
        for stream in self.shared.cache.unflushed() {
            self.send(Touch { stream });
        }
        let threads = self.shared.stop_threads();
        let _ = self.blocking(move || join(threads)).await;
    }

    /// Whether changes are accepted: not after a stop, nor after the committer has failed.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        self.shared.committer.takes_commands()
    }

    /// The clock by which lifetimes are judged: that of the store, if servers share it.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The number and size of the stored streams, without the number of the server's own.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let usage = self.shared.storage.usage();
        let logs = self.shared.logs.load(Ordering::Relaxed);
        Usage {
            streams: usage.streams.saturating_sub(logs),
            ..usage
        }
    }

    /// Whether several servers share the store.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared.storage.shared().is_some()
    }

    /// Why a store that servers share cannot be reached; `None`: it is reached, or not shared.
    #[must_use]
    pub fn store_outage(&self) -> Option<String> {
        self.shared.storage.shared()?.outage()
    }

    /// The counts and gauges of a store that servers share; `None`: it is not shared.
    #[must_use]
    pub fn store_figures(&self) -> Option<StoreFigures> {
        self.shared.storage.shared().map(SharedStore::figures)
    }

    /// The number of streams in memory.
    #[must_use]
    pub fn streams_in_memory(&self) -> usize {
        self.shared.cache.len()
    }

    /// The stream of a name, if there is one that has not expired, with every change that was
    /// acknowledged before the call, by any server.
    async fn find_fresh(&self, name: &StreamName) -> Result<Option<Arc<Stream>>, Unavailable> {
        match &self.shared.sharing {
            None => self.find(name).await,
            Some(sharing) => Box::pin(self.find_shared(sharing, name)).await,
        }
    }

    /// The stream of a name, if there is one that has not expired. In a shared store, it may have
    /// changed since.
    async fn find(&self, name: &StreamName) -> Result<Option<Arc<Stream>>, Unavailable> {
        let now = self.shared.clock.millis();
        let Shared { cache, storage, .. } = &*self.shared;
        let found = match cache.get(name) {
            None if storage.blocking() => {
                let (cache, storage, name) = (Arc::clone(cache), Arc::clone(storage), name.clone());
                self.blocking(move || cache.get_or_load(&name, &*storage, now))
                    .await??
            }
            None => cache.get_or_load(name, &**storage, now)?,
            found => found,
        };
        let Some(stream) = found else { return Ok(None) };
        // A soft-deleted stream is found: its readers are told that it is gone.
        if stream.gone().is_none() && stream.expired(now) {
            if let Some(sharing) = &self.shared.sharing {
                return Box::pin(self.find_shared(sharing, name)).await;
            }
            self.send(Expire { name: name.clone() });
            return Ok(None);
        }
        stream.mark_used(now);
        Ok(Some(stream))
    }

    /// Has a command committed and waits for its reply.
    async fn submit<C: Command>(&self, command: C) -> Result<C::Reply, Unavailable> {
        self.enqueue(command).wait().await
    }

    fn enqueue<C: Command>(&self, command: C) -> Reply<C::Reply> {
        let (request, reply) = Request::new(command);
        self.shared.committer.submit(request);
        reply
    }

    /// Has a command committed without a reply.
    fn send(&self, command: impl Command) {
        self.shared.committer.submit(Request::unanswered(command));
    }

    /// Runs blocking work on another thread.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unavailable> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Unavailable::Stopping)
    }
}

#[cfg(test)]
pub(crate) mod tests;
