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
//!
//! A write goes through `committer.rs` and `transaction.rs`; a read takes its [`Stream`] from
//! `cache.rs` and its [`Chunk`]s from `chunk_cache.rs`, which `load.rs` fills.

mod answers;
mod append;
mod appends;
mod cache;
mod catch_up;
mod chunk;
mod chunk_cache;
mod committer;
mod create;
mod cut;
mod delete;
mod errors;
mod expiry;
mod follow;
mod fork;
mod gather;
mod list;
mod load;
mod metadata;
mod offload;
mod producers;
mod read;
mod read_error;
mod reader;
mod recent;
mod request;
mod retention;
mod stored;
mod stream;
mod text;
mod transaction;
mod writers;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use catch_up::{CatchUp, Pieces};
pub use chunk::Chunk;
pub use errors::{AppendError, CreateError, DeleteError, Unavailable};
pub use follow::{Backlog, Event, Follower, ReadState};
pub use list::{Listed, Listing};
#[cfg(test)]
pub use metadata::Metadata;
pub use read_error::ReadError;
pub use request::{AppendRequest, Appended, CreateRequest, Created, ForkRequest};
pub use retention::RetentionRule;

use cache::StreamCache;
use chunk_cache::ChunkCache;
pub(crate) use chunk_cache::LARGE_CHUNK;
use committer::{Committer, Request};
use request::{Command, Outcome};
pub use stream::Identity;
use stream::Stream;
pub use writers::WriterScope;

use crate::{
    clock::Clock,
    protocol::StreamName,
    storage::{Storage, Usage},
    telemetry::Metrics,
};

/// What one stream, and all of them, may hold; `None`: no limit.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The bytes of one stream.
    pub max_stream_bytes: Option<u64>,
    /// How many streams there may be.
    pub max_streams: Option<u64>,
    /// How many producers a stream remembers, of those without a scope and of all scopes together.
    pub max_producers_per_stream: usize,
    /// Memory for recently read data.
    pub cache_bytes: u64,
    /// How deep the arrays and objects of one JSON message may nest.
    pub max_json_depth: usize,
    /// The most that one catch-up read answers.
    pub max_read_bytes: Option<u64>,
    /// How much of their past streams keep that were not created with a retention of their own.
    pub retention: Arc<[RetentionRule]>,
}

/// All streams of one store. Cheap to clone; clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    storage: Arc<dyn Storage>,
    cache: Arc<StreamCache>,
    chunks: ChunkCache,
    max_read_bytes: Option<u64>,
    committer: Arc<Committer>,
    offload: offload::Offload,
    retention: Arc<[RetentionRule]>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    stopped: CancellationToken,
}

impl Default for Limits {
    /// No limit that is not needed to work at all.
    fn default() -> Self {
        let defaults = crate::config::LimitsConfig::default();
        Self {
            max_stream_bytes: None,
            max_streams: None,
            max_producers_per_stream: defaults.max_producers_per_stream,
            cache_bytes: 0,
            max_json_depth: defaults.max_json_depth,
            max_read_bytes: None,
            retention: Arc::default(),
        }
    }
}

impl Limits {
    /// What `config` says; 0 is no limit there.
    #[must_use]
    pub fn of(config: &crate::Config) -> Self {
        let limit = |value: u64| (value > 0).then_some(value);
        Self {
            max_stream_bytes: limit(config.limits.max_stream_bytes),
            max_streams: limit(config.limits.max_streams),
            max_producers_per_stream: config.limits.max_producers_per_stream,
            cache_bytes: config.storage.cache_bytes,
            max_json_depth: config.limits.max_json_depth,
            max_read_bytes: limit(config.limits.max_read_bytes),
            retention: config.retention.rules.iter().map(RetentionRule::of).collect(),
        }
    }
}

impl Drop for Shared {
    /// Stops the committer and waits for it: the store must be closed once its last owner is gone,
    /// so that it can be opened again.
    fn drop(&mut self) {
        self.committer.stop();
        let Some(thread) = self.thread.get_mut().take() else {
            return;
        };
        // The committer itself may drop the last handle, and a thread cannot join itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the committer thread panicked");
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
        limits: Limits,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let cache = Arc::new(StreamCache::new());
        let (retention, chunks) = (Arc::clone(&limits.retention), ChunkCache::new(limits.cache_bytes));
        let max_read_bytes = limits.max_read_bytes;
        let offload = offload::Offload::new(limits.max_json_depth);
        let committer = Arc::new(Committer::new(
            Arc::clone(&storage),
            Arc::clone(&cache),
            limits,
            metrics,
            clock.clone(),
        ));
        let run = Arc::clone(&committer);
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || run.run())?;
        let shared = Shared {
            clock,
            storage,
            cache,
            chunks,
            max_read_bytes,
            committer,
            offload,
            retention,
            thread: Mutex::new(Some(thread)),
            stopped: CancellationToken::new(),
        };
        let engine = Self {
            shared: Arc::new(shared),
        };
        tokio::spawn(expiry::sweep(
            Arc::downgrade(&engine.shared),
            engine.shared.stopped.clone(),
        ));
        engine.start_retention();
        Ok(engine)
    }

    /// Refuses further changes, commits the queued ones, and returns when that is done.
    pub async fn stop(&self) {
        self.shared.stopped.cancel();
        // Otherwise streams that were just read would expire early after the next start.
        for stream in self.shared.cache.unflushed() {
            self.send(Command::Touch { stream });
        }
        self.shared.committer.stop();
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread {
            let joined = self.blocking(move || thread.join().is_ok()).await;
            if !matches!(joined, Ok(true)) {
                tracing::error!("the committer thread panicked");
            }
        }
    }

    /// Whether changes are accepted: not after a stop, nor after the committer has failed.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        self.shared.committer.takes_commands()
    }

    /// The number and size of the stored streams.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shared.storage.usage()
    }

    /// The number of streams in memory.
    #[must_use]
    pub fn streams_in_memory(&self) -> usize {
        self.shared.cache.len()
    }

    /// The stream of a name, if there is one that has not expired.
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
            self.send(Command::Expire { name: name.clone() });
            return Ok(None);
        }
        stream.mark_used(now);
        Ok(Some(stream))
    }

    /// Has a command committed and waits for its outcome.
    async fn submit(&self, command: Command) -> Result<Outcome, Unavailable> {
        Self::outcome(self.enqueue(command)).await
    }

    fn enqueue(&self, command: Command) -> oneshot::Receiver<Outcome> {
        let (reply, outcome) = oneshot::channel();
        self.shared.committer.submit(Request {
            command,
            reply: Some(reply),
        });
        outcome
    }

    async fn outcome(outcome: oneshot::Receiver<Outcome>) -> Result<Outcome, Unavailable> {
        match outcome.await {
            Ok(Outcome::Unavailable(unavailable)) => Err(unavailable),
            Ok(outcome) => Ok(outcome),
            Err(_) => Err(Unavailable::Stopping),
        }
    }

    /// Has a command committed that nobody waits for.
    fn send(&self, command: Command) {
        self.shared.committer.submit(Request { command, reply: None });
    }

    /// Runs blocking work on another thread.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unavailable> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Unavailable::Stopping)
    }
}

#[cfg(test)]
mod tests;
