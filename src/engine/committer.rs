//! The committer: the one owner of everything that changes.
//!
//! What all streams want written waits in one queue. The committer takes all of it, judges
//! each command, commits one batch, publishes it and answers. While a batch is on its way
//! to the disk the next one gathers, so load makes batches larger, not commits more.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::{
    Limits,
    answers::{Answers, hand_out},
    cache::StreamCache,
    errors::Unavailable,
    gather::{Crowd, batches},
    request::{Command, Outcome},
    stream::Stream,
    transaction::{Context, Transaction},
    writers::WriterTables,
};
use crate::{
    clock::Clock,
    log_throttle::LogThrottle,
    protocol::Offset,
    storage::{CommitError, Storage, StreamId},
    telemetry::Metrics,
};

/// Commands that may wait. Beyond that, writers are told to come back.
const MAX_QUEUE: usize = 100_000;
/// How many bytes of content may wait: whoever sent them need not be there any more.
const MAX_QUEUE_BYTES: usize = 256 * 1024 * 1024;
/// Ids set aside at once.
const ID_BLOCK: u64 = 1 << 16;
/// Ids are incarnations of streams, and must fit into offsets whatever the clock says.
const LATEST_ID: u64 = Offset::MAX_INCARNATION / 2;
/// How long writers may keep upkeep from its turn.
const UPKEEP_AT_LEAST: Duration = Duration::from_secs(1);
/// How long nothing may happen before upkeep has a look.
const UPKEEP_IDLE: Duration = Duration::from_secs(60);
/// How long to rest when upkeep fails.
const UPKEEP_RETRY: Duration = Duration::from_secs(1);

/// A command, and who waits for its outcome.
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) reply: Option<oneshot::Sender<Outcome>>,
}

/// Where writers leave their commands.
pub(super) struct Committer {
    queue: Mutex<Queue>,
    filled: Condvar,
    /// Taken for as long as a batch is being made; a store that does not block is committed
    /// to by whoever brings a command, under this lock.
    core: Mutex<Core>,
    clock: Clock,
    inline: bool,
}

#[derive(Default)]
struct Queue {
    requests: Vec<Request>,
    /// The committer is woken when so many wait.
    wanted: usize,
    bytes: usize,
    stopping: bool,
}

struct Core {
    clock: Clock,
    storage: Arc<dyn Storage>,
    cache: Arc<StreamCache>,
    limits: Limits,
    metrics: Arc<Metrics>,
    ids: Ids,
    writers: WriterTables,
    /// Streams of which a failed commit has left unknown whether they are still as published.
    doubtful: Vec<Arc<Stream>>,
    answers: Answers,
    failures: LogThrottle,
}

/// Ids for new streams, set aside in blocks.
#[derive(Default)]
pub(super) struct Ids {
    clock: Clock,
    next: StreamId,
    left: u64,
}

impl Ids {
    /// An id that is greater than all before it, and than `other` where that lies in the past.
    pub(super) fn next(&mut self, storage: &dyn Storage, other: StreamId) -> Result<StreamId, Unavailable> {
        // A block may have been set aside long ago.
        if self.left == 0 || self.next <= other {
            self.next = storage
                // The time, so that also a store that was lost or set back has later ids.
                .reserve_ids(ID_BLOCK, self.clock.micros().min(LATEST_ID))
                .map_err(|error| Unavailable::from(&error))?;
            self.left = ID_BLOCK;
        }
        let id = self.next;
        self.next += 1;
        self.left -= 1;
        Ok(id)
    }
}

impl Committer {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        cache: Arc<StreamCache>,
        limits: Limits,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let inline = !storage.blocking();
        let core = Core {
            clock: clock.clone(),
            storage,
            cache,
            limits,
            metrics,
            ids: Ids {
                clock: clock.clone(),
                ..Ids::default()
            },
            writers: WriterTables::default(),
            doubtful: Vec::new(),
            failures: LogThrottle::new(clock.clone()),
            // Whoever brings a command to a store that does not block is a task already.
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

    /// Takes a command in; its outcome is sent when it is committed.
    pub(super) fn submit(&self, request: Request) {
        if self.inline {
            if self.queue.lock().stopping {
                return request.refuse(Unavailable::Stopping);
            }
            return self.core.lock().process(vec![request]);
        }
        let mut queue = self.queue.lock();
        if queue.stopping {
            drop(queue);
            return request.refuse(Unavailable::Stopping);
        }
        let bytes = request.command.bytes();
        let waits = !queue.requests.is_empty();
        if queue.requests.len() >= MAX_QUEUE || (waits && queue.bytes + bytes > MAX_QUEUE_BYTES) {
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

    /// Takes no more commands. What waits already is still committed.
    pub(super) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.filled.notify_all();
    }

    /// Commits until stopped. Runs on a thread of its own; a store that does not block only
    /// gets its upkeep here.
    pub(super) fn run(&self) {
        let _end = End(self);
        let mut rest = Duration::ZERO;
        let mut crowd = Crowd::default();
        let mut upkeep = self.clock.instant();
        while let Some(requests) = self.take(rest, &crowd) {
            let mut core = self.core.lock();
            if !requests.is_empty() {
                crowd.last_batch = requests.len();
                let started = self.clock.instant();
                for batch in batches(requests) {
                    core.process(batch);
                }
                crowd.last_commit = started.elapsed();
            }
            // Writers come first, but not for ever.
            if self.clock.instant().duration_since(upkeep) < UPKEEP_AT_LEAST && !self.queue.lock().requests.is_empty() {
                continue;
            }
            upkeep = self.clock.instant();
            core.writers.trim(self.clock.millis());
            rest = match core.storage.maintain() {
                Ok(true) => Duration::ZERO,
                Ok(false) if self.inline => UPKEEP_RETRY,
                // What waits for the end of a backup has nobody who says so.
                Ok(false) => UPKEEP_IDLE,
                Err(error) => {
                    tracing::warn!(%error, "the store's upkeep failed; trying again");
                    UPKEEP_RETRY
                }
            };
        }
    }

    /// What waits; nothing when nothing came for `rest`; `None` when stopped.
    fn take(&self, rest: Duration, crowd: &Crowd) -> Option<Vec<Request>> {
        let mut queue = self.queue.lock();
        self.wait(&mut queue, crowd.size(), crowd.patience());
        if queue.requests.is_empty() {
            self.wait(&mut queue, 1, rest);
        }
        if queue.requests.is_empty() && queue.stopping {
            return None;
        }
        queue.bytes = 0;
        Some(std::mem::take(&mut queue.requests))
    }

    /// Waits until `wanted` commands are there, `longest` has passed, or it is time to stop.
    fn wait(&self, queue: &mut MutexGuard<'_, Queue>, wanted: usize, longest: Duration) {
        queue.wanted = wanted;
        let missing = |queue: &mut Queue| queue.requests.len() < wanted && !queue.stopping;
        if longest > Duration::ZERO {
            self.filled.wait_while_for(queue, missing, longest);
        }
    }
}

/// Leaves nobody waiting for a committer that has ended, however it did.
struct End<'c>(&'c Committer);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the committer panicked: nothing is written any more until the server is restarted");
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
    /// Commits a batch and answers everybody in it.
    fn process(&mut self, requests: Vec<Request>) {
        let mut left = Some(requests);
        while let Some(requests) = left {
            left = self.attempt(requests);
        }
    }

    /// Commits a batch and answers everybody in it, or returns it to be judged again.
    fn attempt(&mut self, requests: Vec<Request>) -> Option<Vec<Request>> {
        self.resolve_doubts();
        let context = Context {
            storage: &*self.storage,
            cache: &self.cache,
            limits: &self.limits,
            now: self.clock.millis(),
        };
        self.writers.trim(context.now);
        let mut tx = Transaction::new(context, &mut self.ids, &mut self.writers);
        let outcomes: Vec<Outcome> = requests.iter().map(|request| tx.apply(&request.command)).collect();
        let batch = tx.batch();
        let committed = if batch.is_empty() {
            Ok(())
        } else {
            let started = self.clock.instant();
            let result = self.storage.commit(&batch);
            self.metrics
                .committed(requests.len(), started.elapsed(), result.is_ok());
            result
        };
        let error = match committed {
            Ok(()) => {
                tx.publish();
                let answers = requests.into_iter().zip(outcomes);
                self.answers
                    .give(answers.filter_map(|(request, outcome)| Some((request.reply?, outcome))));
                return None;
            }
            Err(error) => error,
        };
        let doubtful = tx.into_streams();
        if let CommitError::Damaged { id, what } = &error
            && let Some(damaged) = doubtful.iter().find(|stream| stream.id == *id)
            && damaged.damage().is_none()
        {
            tracing::error!(stream = %damaged.name, what, "a stream is damaged and takes no more");
            damaged.mark_damaged(what);
            // Nothing was written, and what is about other streams can be.
            return Some(requests);
        }
        if !matches!(error, CommitError::Full(_)) {
            self.doubtful.extend(doubtful);
            self.resolve_doubts();
        }
        match error {
            // One that does not fit, or that builds on what is not so any more, must not
            // refuse the others.
            CommitError::Full(_) | CommitError::TailMoved { .. } if requests.len() > 1 => {
                let mut first = requests;
                let second = first.split_off(first.len() / 2);
                self.process(first);
                self.process(second);
            }
            error => {
                let unavailable = Unavailable::from(&error);
                if let Some(suppressed) = self.failures.allow("commit") {
                    tracing::error!(%error, commands = requests.len(), suppressed, "a batch was not committed");
                }
                for request in requests {
                    request.refuse(unavailable.clone());
                }
            }
        }
        None
    }

    /// Publishes what the store has of streams that a failed commit was about: a commit whose
    /// sync failed may be there all the same, and another writer may have been faster. Those
    /// that cannot be read are tried again before the next batch.
    fn resolve_doubts(&mut self) {
        for stream in std::mem::take(&mut self.doubtful) {
            match self.storage.get(&stream.name) {
                Ok(stored) => {
                    let stored = stored.filter(|stored| stored.record.id == stream.id);
                    if stored.is_none() {
                        self.cache.remove(&stream);
                    }
                    stream.reset_to_stored(stored);
                }
                Err(error) => {
                    tracing::warn!(%error, "a stream cannot be looked at after a failed commit; trying again");
                    self.doubtful.push(stream);
                }
            }
        }
    }
}

impl Request {
    fn answer(self, outcome: Outcome) {
        if let Some(reply) = self.reply {
            hand_out((reply, outcome));
        }
    }

    fn refuse(self, why: Unavailable) {
        if let Command::Touch { stream } = &self.command {
            stream.finish_flush();
        }
        self.answer(Outcome::Unavailable(why));
    }
}

impl Command {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Create { create, .. } => create.data.len(),
            Self::Append { append, .. } => append.data.len(),
            Self::Delete { .. } | Self::Expire { .. } | Self::Touch { .. } => 0,
        }
    }
}

impl Outcome {
    /// The outcome of another kind of command, which is an outage or a defect.
    pub(super) fn unexpected(self) -> Unavailable {
        match self {
            Self::Unavailable(unavailable) => unavailable,
            _ => Unavailable::Failed("the committer answered another question".into()),
        }
    }
}
