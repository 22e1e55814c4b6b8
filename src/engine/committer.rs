//! The committer, which makes all changes.
//!
//! The commands of all streams wait in one queue. The committer takes all of them, judges each,
//! commits one batch, publishes it and replies. While a batch is on its way to the disk the next
//! one gathers: load grows batches, not the number of commits.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    answers::Answers,
    cache::StreamCache,
    command::Request,
    errors::Unavailable,
    ids::Ids,
    limits::EngineConfig,
    loads::Loads,
    maintenance::Maintenance,
    pacing::{BatchPacer, batches},
    sharing::Sharing,
    stream::Stream,
    transaction::{Context, Settled, Transaction},
    watch::Watch,
    writers::WriterTables,
};
use crate::{
    clock::Clock,
    log_throttle::LogThrottle,
    protocol::StreamName,
    storage::{CommitError, Group, Storage, Verdicts},
    telemetry::Metrics,
};

/// Queue capacity; beyond it writers get [`Unavailable::Overloaded`].
const MAX_QUEUE: usize = 100_000;
/// Bytes of content in the queue. Counted here because callers may already have disconnected.
const MAX_QUEUE_BYTES: usize = 256 * 1024 * 1024;
/// How often a command is judged again because other servers changed its streams.
const MAX_MOVES: u32 = 8;
/// How often an idle committer forgets writers that are not used.
const TRIM_INTERVAL: Duration = Duration::from_secs(60);

/// The queue of commands, and the thread that commits them.
pub(super) struct Committer {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Locked while a batch is made. The senders of commands to a non-blocking store commit them
    /// themselves, under this lock.
    core: Mutex<Core>,
    clock: Clock,
    inline: bool,
}

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    /// The committer is woken once this many are queued.
    wanted: usize,
    bytes: usize,
    stopping: bool,
}

struct Core {
    clock: Clock,
    storage: Arc<dyn Storage>,
    loads: Loads,
    cache: Arc<StreamCache>,
    sharing: Option<Arc<Sharing>>,
    /// The history of a shared store in which writers and uncertain streams are known.
    history: u64,
    watch: Arc<Watch>,
    config: EngineConfig,
    metrics: Arc<Metrics>,
    ids: Ids,
    writers: WriterTables,
    /// Streams whose stored state is unknown: their commit failed, possibly after it was written,
    /// or another server has changed them.
    uncertain: Vec<Arc<Stream>>,
    answers: Answers,
    failures: LogThrottle,
}

impl Committer {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        cache: Arc<StreamCache>,
        sharing: Option<Arc<Sharing>>,
        watch: Arc<Watch>,
        config: EngineConfig,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let inline = !storage.blocking();
        let core = Core {
            clock: clock.clone(),
            loads: Loads::new(Arc::clone(&storage)),
            storage,
            history: cache.history(),
            cache,
            sharing,
            watch,
            config,
            metrics,
            ids: Ids::new(clock.clone()),
            writers: WriterTables::default(),
            uncertain: Vec::new(),
            failures: LogThrottle::new(clock.clone()),
            // With a non-blocking store, commands are committed by tasks already.
            answers: if inline { Answers::default() } else { Answers::by_task() },
        };
        Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            core: Mutex::new(core),
            clock,
            inline,
        }
    }

    /// Queues a command; its reply is sent once it is committed.
    pub(super) fn submit(&self, request: Request) {
        if self.inline {
            if self.queue.lock().stopping {
                return request.refuse(Unavailable::Stopping);
            }
            let mut core = self.core.lock();
            core.loads.ask_again();
            return core.process(vec![request]);
        }
        let mut queue = self.queue.lock();
        if queue.stopping {
            drop(queue);
            return request.refuse(Unavailable::Stopping);
        }
        let bytes = request.bytes();
        let is_waiting = !queue.requests.is_empty();
        if queue.requests.len() >= MAX_QUEUE || (is_waiting && queue.bytes + bytes > MAX_QUEUE_BYTES) {
            drop(queue);
            return request.refuse(Unavailable::Overloaded);
        }
        queue.bytes += bytes;
        queue.requests.push(request);
        if queue.requests.len() == queue.wanted {
            drop(queue);
            self.filled.notify_one();
        }
    }

    pub(super) fn takes_commands(&self) -> bool {
        !self.queue.lock().stopping
    }

    /// Accepts no more commands. Queued commands are still committed.
    pub(super) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.filled.notify_all();
    }

    /// Commits until stopped, on a thread of its own.
    pub(super) fn run(&self, maintenance: &Maintenance) {
        let _end = End(self);
        let mut pacer = BatchPacer::default();
        while let Some(requests) = self.take(&pacer, TRIM_INTERVAL) {
            let mut core = self.core.lock();
            if requests.is_empty() {
                core.writers.trim(self.clock.millis());
                continue;
            }
            let (commands, started) = (requests.len(), self.clock.instant());
            core.loads.ask_again();
            batches(requests).for_each(|batch| core.process(batch));
            pacer.record(commands, self.clock.instant().duration_since(started));
            maintenance.note_changes(core.storage.needs_maintenance());
        }
    }

    /// The queued commands; none if none came for `max_idle`; `None` once stopped.
    fn take(&self, pacer: &BatchPacer, max_idle: Duration) -> Option<Vec<Request>> {
        let mut queue = self.queue.lock();
        self.wait(&mut queue, pacer.expected(), pacer.max_wait());
        if queue.requests.is_empty() {
            self.wait(&mut queue, 1, max_idle);
        }
        if queue.requests.is_empty() && queue.stopping {
            return None;
        }
        queue.bytes = 0;
        Some(std::mem::take(&mut queue.requests))
    }

    /// Waits until `wanted` commands are queued, `max_wait` has passed, or it is time to stop.
    fn wait(&self, queue: &mut MutexGuard<'_, Queue>, wanted: usize, max_wait: Duration) {
        queue.wanted = wanted;
        let missing = |queue: &mut Queue| queue.requests.len() < wanted && !queue.stopping;
        if max_wait > Duration::ZERO {
            self.filled.wait_while_for(queue, missing, max_wait);
        }
    }
}

#[cfg(test)]
impl Committer {
    /// Commits nothing until the result is dropped.
    pub(super) fn hold(&self) -> impl Sized + '_ {
        self.core.lock()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.lock().requests.len()
    }
}

/// Refuses the queued commands when the committer ends, even by a panic.
struct End<'c>(&'c Committer);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the committer panicked: writes are disabled until restart");
        }
        let mut queue = self.0.queue.lock();
        queue.stopping = true;
        let left = std::mem::take(&mut queue.requests);
        drop(queue);
        for request in left {
            request.refuse(Unavailable::Stopping);
        }
    }
}

impl Core {
    /// Commits a batch and answers every command in it.
    fn process(&mut self, requests: Vec<Request>) {
        let mut left = self.attempt(requests);
        while let Some(requests) = left.pop() {
            left.extend(self.attempt(requests));
        }
    }

    /// Judges a batch and commits it. Returns what has to be tried again, the last batch first.
    fn attempt(&mut self, mut requests: Vec<Request>) -> Vec<Vec<Request>> {
        self.look_up(&requests);
        self.notice_history();
        self.reconcile();
        let context = Context {
            storage: &self.loads,
            cache: &self.cache,
            watch: &self.watch,
            config: &self.config,
            now: self.clock.millis(),
            origin: self.cache.origin(),
        };
        self.writers.trim(context.now);
        let mut tx = Transaction::new(context, requests.len(), &mut self.ids, &mut self.writers);
        for request in &mut requests {
            tx.next_command();
            request.stage(&mut tx);
        }
        let groups = tx.groups();
        let is_empty = |group: &Group| group.expects.is_empty() && group.changes.is_empty();
        let committed = if groups.iter().all(is_empty) {
            Ok(Verdicts::AllCommitted)
        } else {
            let started = self.clock.instant();
            let result = match self.storage.shared() {
                Some(store) => store.commit_in(self.history, &groups),
                None => self.storage.commit(&groups),
            };
            self.metrics
                .committed(requests.len(), started.elapsed(), result.is_ok());
            result
        };
        match committed {
            Ok(verdicts) => {
                let settled = tx.settle(verdicts);
                self.finish(requests, settled)
            }
            Err(error) => {
                let streams = tx.into_streams();
                self.recover(requests, streams, error)
            }
        }
    }

    /// Reads the streams of several commands at once that are not in memory.
    fn look_up(&mut self, requests: &[Request]) {
        let Some(sharing) = &self.sharing else { return };
        let names = requests.iter().filter_map(Request::name);
        let names: HashSet<&StreamName> = names.filter(|name| self.cache.get(name).is_none()).collect();
        let names: Vec<StreamName> = match names.len() {
            0 | 1 => Vec::new(),
            _ => names.into_iter().cloned().collect(),
        };
        // If that fails, so does each command.
        let absent = self.loads.ask(|| sharing.look_up(&names));
        self.loads.set_absent(absent.unwrap_or_default());
    }

    /// Answers the committed commands. Returns those whose streams moved.
    fn finish(&mut self, mut requests: Vec<Request>, mut settled: Settled) -> Vec<Vec<Request>> {
        if settled.is_plain() {
            self.answers.deliver(requests);
            return Vec::new();
        }
        self.uncertain.append(&mut settled.uncertain);
        let (mut answered, mut moved) = (Vec::new(), Vec::new());
        for (index, mut request) in requests.drain(..).enumerate() {
            if !settled.has_moved(index) {
                request.landed(settled.landings());
                answered.push(request);
            } else if request.moves >= MAX_MOVES {
                request.refuse(Unavailable::Raced);
            } else {
                request.moves += 1;
                moved.push(request);
            }
        }
        self.answers.deliver(answered);
        if moved.is_empty() { Vec::new() } else { vec![moved] }
    }

    /// Handles a failed commit, of which nothing was published.
    fn recover(
        &mut self,
        mut requests: Vec<Request>,
        streams: Vec<Arc<Stream>>,
        error: CommitError,
    ) -> Vec<Vec<Request>> {
        match &error {
            CommitError::Damaged { id, what } => {
                let damaged = streams.iter().find(|stream| stream.id == *id);
                if let Some(damaged) = damaged.filter(|stream| stream.damage().is_none()) {
                    tracing::error!(stream = %damaged.name, what, "a stream is damaged and accepts no more appends");
                    damaged.mark_damaged(what);
                    // Nothing was written; the commands for other streams can still be.
                    return vec![requests];
                }
            }
            // One oversized command must not fail the batch: split and retry. A database's disk is full for all, and
            // each refusal costs a connection.
            CommitError::Full(_) if requests.len() > 1 && self.sharing.is_none() => {
                let second = requests.split_off(requests.len() / 2);
                return vec![second, requests];
            }
            CommitError::Full(_) | CommitError::Unknown(_) | CommitError::Storage(_) => {}
        }
        match &self.sharing {
            _ if matches!(error, CommitError::Full(_)) => {}
            // Every other read refreshes them, and every commit is judged by the store.
            Some(sharing) => sharing.suspect(&streams),
            None => {
                self.uncertain.extend(streams);
                self.reconcile();
            }
        }
        if let Some(suppressed) = self.failures.allow("commit") {
            tracing::error!(%error, commands = requests.len(), suppressed, "could not commit a batch");
        }
        let unavailable = Unavailable::from(error);
        for request in requests {
            request.refuse(unavailable.clone());
        }
        Vec::new()
    }

    /// Forgets what was known in another history of a shared store.
    fn notice_history(&mut self) {
        let Some(sharing) = &self.sharing else { return };
        // If the store fails now, so will the commit.
        let _ = sharing.notice_history();
        let history = self.cache.history();
        if history != self.history {
            self.history = history;
            // The new history may not know that they were reserved.
            self.ids.renew();
            self.writers = WriterTables::default();
            self.uncertain.clear();
        }
    }

    /// Publishes what the store has of uncertain streams. Those that cannot be read are tried again
    /// before the next batch.
    fn reconcile(&mut self) {
        if let Some(sharing) = &self.sharing {
            return sharing.reconcile(&std::mem::take(&mut self.uncertain));
        }
        for stream in std::mem::take(&mut self.uncertain) {
            match self.storage.get(&stream.name) {
                Ok(stored) => {
                    self.cache.reset(&stream, stored);
                    self.watch.published(&stream);
                }
                Err(error) => {
                    tracing::warn!(%error, stream = %stream.name, "could not read a stream after a failed commit; will retry");
                    self.uncertain.push(stream);
                }
            }
        }
    }
}
