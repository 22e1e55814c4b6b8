//! The protocol's rules: streams, appends, reads, live waiting, producers, forks, expiry.
//!
//! The engine knows nothing of HTTP and nothing of tokens. Below it is a
//! [`Storage`], which knows no rules. Everything that changes a stream goes
//! through one committer; everything that reads one goes past it.

mod answers;
mod append;
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
mod limits;
mod list;
mod load;
mod offload;
mod producers;
mod read;
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
pub use chunk::{Chunk, Events};
pub use errors::{AppendError, CreateError, DeleteError, ReadError, Unavailable};
pub use follow::{Backlog, Event, Follower};
pub use limits::{EngineConfig, LimitsConfig, RetentionConfig, RetentionRule};
pub use list::{Listed, Listing};
pub use read::{MAX_CHUNK_BYTES, Metadata};
pub use request::{AppendRequest, Appended, CreateRequest, Created, ForkRequest};
pub use stored::StoredPart;

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

impl Drop for Shared {
    /// An engine that nobody holds any more takes its thread along, and waits for it: the store
    /// must be closed when its last owner is told so, for whoever opens it next.
    fn drop(&mut self) {
        self.committer.stop();
        let Some(thread) = self.thread.get_mut().take() else {
            return;
        };
        // A thread cannot wait for itself, and the last answer may have been the last holder.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the committer did not end as it should");
        }
    }
}

impl Engine {
    /// Starts the committer and the sweeper. To be called within a tokio runtime.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        storage: Arc<dyn Storage>,
        config: EngineConfig,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> std::io::Result<Self> {
        let cache = Arc::new(StreamCache::new());
        let (retention, chunks) = (Arc::clone(&config.retention), ChunkCache::new(config.cache_bytes));
        let max_read_bytes = config.limits.read_bytes();
        let offload = offload::Offload::new(config.limits.max_json_depth);
        let committer = Arc::new(Committer::new(
            Arc::clone(&storage),
            Arc::clone(&cache),
            config,
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

    /// Takes no more changes, commits those that wait, and returns when that is done.
    pub async fn stop(&self) {
        self.shared.stopped.cancel();
        // Else the next start would end streams early that were read a moment ago.
        for stream in self.shared.cache.owing_touch() {
            self.send(Command::Touch { stream });
        }
        self.shared.committer.stop();
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread {
            let joined = self.blocking(move || thread.join().is_ok()).await;
            if !matches!(joined, Ok(true)) {
                tracing::error!("the committer did not end as it should");
            }
        }
    }

    /// Whether changes are taken: not after a stop, nor after the committer has failed.
    #[must_use]
    pub fn takes_writes(&self) -> bool {
        self.shared.committer.takes_commands()
    }

    /// What the store holds.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shared.storage.usage()
    }

    /// How many streams are in memory right now.
    #[must_use]
    pub fn streams_in_memory(&self) -> usize {
        self.shared.cache.len()
    }

    /// The stream of a name, if there is one whose time is not over.
    async fn find(&self, name: &StreamName) -> Result<Option<Arc<Stream>>, Unavailable> {
        let now = self.shared.clock.millis();
        let stream = loop {
            let ticket = match self.shared.cache.get(name) {
                Ok(stream) => break stream,
                Err(ticket) => ticket,
            };
            let stored = if self.shared.storage.blocking() {
                let (storage, name) = (Arc::clone(&self.shared.storage), name.clone());
                self.blocking(move || storage.get(&name)).await??
            } else {
                self.shared.storage.get(name)?
            };
            let Some(stored) = stored else { return Ok(None) };
            let stream = Stream::new(name.clone(), stored, now);
            if let Some(stream) = self.shared.cache.insert_read(stream, ticket) {
                break stream;
            }
        };
        // One that is kept for its forks ended before, and says so to whoever asks.
        if stream.snapshot().gone.is_none() && stream.expired(now) {
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

    /// Runs what may block where it blocks no worker.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unavailable> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Unavailable::Stopping)
    }
}

#[cfg(test)]
mod tests;
