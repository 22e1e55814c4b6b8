//! The committer: the one owner of everything that changes.
//!
//! What all streams want written waits in one queue. The committer takes all of it, judges
//! each command, commits one batch, publishes it and answers. While a batch is on its way
//! to the disk the next one gathers, so load makes batches larger, not commits more.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{mpsc, oneshot};

use super::{
    Limits,
    cache::StreamCache,
    errors::Unavailable,
    request::{Command, Outcome},
    stream::Stream,
    transaction::{Context, Transaction},
};
use crate::{
    clock,
    storage::{CommitError, Storage, StreamId},
    telemetry::{Metrics, Seldom},
};

/// Commands that may wait. Beyond that, writers are told to come back.
const MAX_QUEUE: usize = 100_000;
/// How many bytes of content may wait: whoever sent them need not be there any more.
const MAX_QUEUE_BYTES: usize = 256 * 1024 * 1024;
/// How many commands one batch takes at most.
const MAX_BATCH: usize = 4_096;
/// How many bytes of content one batch takes at most, beyond its first command.
const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// From how many commands in the last batch on the next one is waited for.
const CROWD: usize = 4;
/// How long it is waited for at most, and never longer than the last commit took.
const MAX_GATHER: Duration = Duration::from_millis(1);
/// Ids set aside at once.
const ID_BLOCK: u64 = 1 << 16;
/// How long writers may keep upkeep from its turn.
const UPKEEP_AT_LEAST: Duration = Duration::from_secs(1);
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

/// What the last batch teaches about the next: writers who were answered together tend to
/// come back together, and one commit for all of them costs as much as one for the first.
#[derive(Default)]
struct Crowd {
    last_batch: usize,
    last_commit: Duration,
}

struct Core {
    storage: Arc<dyn Storage>,
    cache: Arc<StreamCache>,
    limits: Limits,
    metrics: Arc<Metrics>,
    ids: Ids,
    /// Streams of which a failed commit has left unknown whether they are still as published.
    doubtful: Vec<Arc<Stream>>,
    answers: Answers,
    failures: Seldom,
}

/// Who waits for an outcome, and the outcome.
type Answer = (oneshot::Sender<Outcome>, Outcome);

/// How outcomes get to those who wait.
///
/// To wake a task from a thread outside the runtime may mean to wake a worker, and costs a
/// switch to it; from inside it costs next to nothing. So a batch of answers goes to one task,
/// which hands them out. There are never more of them than callers.
#[derive(Default)]
struct Answers(Option<mpsc::UnboundedSender<Vec<Answer>>>);

impl Answers {
    /// Has them handed out by a task of this runtime.
    fn by_task() -> Self {
        let (sender, mut batches) = mpsc::unbounded_channel::<Vec<Answer>>();
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                batch.into_iter().for_each(hand_out);
            }
        });
        Self(Some(sender))
    }

    fn give(&self, answers: impl Iterator<Item = Answer>) {
        match &self.0 {
            None => answers.for_each(hand_out),
            Some(task) => {
                // If the runtime has gone, so have they.
                let _ = task.send(answers.collect());
            }
        }
    }
}

fn hand_out((reply, outcome): Answer) {
    // Who has gone does not wait for an answer.
    let _ = reply.send(outcome);
}

/// Ids for new streams, set aside in blocks.
#[derive(Default)]
pub(super) struct Ids {
    next: StreamId,
    left: u64,
}

impl Ids {
    pub(super) fn next(&mut self, storage: &dyn Storage) -> Result<StreamId, Unavailable> {
        if self.left == 0 {
            self.next = storage
                .reserve_ids(ID_BLOCK)
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
    ) -> Self {
        let inline = !storage.blocking();
        let core = Core {
            storage,
            cache,
            limits,
            metrics,
            ids: Ids::default(),
            doubtful: Vec::new(),
            failures: Seldom::default(),
            // Whoever brings a command to a store that does not block is a task already.
            answers: if inline { Answers::default() } else { Answers::by_task() },
        };
        Self {
            queue: Mutex::default(),
            filled: Condvar::new(),
            core: Mutex::new(core),
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
        let mut upkeep = clock::instant();
        while let Some(requests) = self.take(rest, &crowd) {
            rest = Duration::MAX;
            let mut core = self.core.lock();
            if !requests.is_empty() {
                crowd.last_batch = requests.len();
                let started = clock::instant();
                for batch in batches(requests) {
                    core.process(batch);
                }
                crowd.last_commit = started.elapsed();
            }
            // Writers come first, but not for ever.
            if upkeep.elapsed() < UPKEEP_AT_LEAST && !self.queue.lock().requests.is_empty() {
                continue;
            }
            upkeep = clock::instant();
            match core.storage.maintain() {
                Ok(true) => rest = Duration::ZERO,
                Ok(false) if self.inline => rest = UPKEEP_RETRY,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "the store's upkeep failed; trying again");
                    rest = UPKEEP_RETRY;
                }
            }
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
        if longest == Duration::MAX {
            self.filled.wait_while(queue, missing);
        } else if longest > Duration::ZERO {
            self.filled.wait_while_for(queue, missing, longest);
        }
    }
}

impl Crowd {
    fn size(&self) -> usize {
        self.last_batch - self.last_batch / 8
    }

    fn patience(&self) -> Duration {
        if self.last_batch < CROWD {
            Duration::ZERO
        } else {
            self.last_commit.min(MAX_GATHER)
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

/// Splits what has gathered into batches of bounded size.
fn batches(requests: Vec<Request>) -> impl Iterator<Item = Vec<Request>> {
    let mut requests = requests.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut batch = vec![requests.next()?];
        let mut bytes = 0;
        while batch.len() < MAX_BATCH {
            let Some(next) = requests.next_if(|next| bytes + next.command.bytes() <= MAX_BATCH_BYTES) else {
                break;
            };
            bytes += next.command.bytes();
            batch.push(next);
        }
        Some(batch)
    })
}

impl Core {
    /// Commits a batch and answers everybody in it.
    fn process(&mut self, requests: Vec<Request>) {
        self.resolve_doubts();
        let context = Context {
            storage: &*self.storage,
            cache: &self.cache,
            limits: &self.limits,
            now: clock::now_millis(),
        };
        let mut tx = Transaction::new(context, &mut self.ids);
        let outcomes: Vec<Outcome> = requests.iter().map(|request| tx.apply(&request.command)).collect();
        let batch = tx.batch();
        let committed = if batch.is_empty() {
            Ok(())
        } else {
            let started = clock::instant();
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
                return;
            }
            Err(error) => error,
        };
        let doubtful = tx.into_streams();
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
                if let Some(unsaid) = self.failures.now("commit") {
                    tracing::error!(%error, commands = requests.len(), unsaid, "a batch was not committed");
                }
                for request in requests {
                    request.refuse(unavailable.clone());
                }
            }
        }
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
                    stream.correct(stored);
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
            stream.end_touch();
        }
        self.answer(Outcome::Unavailable(why));
    }
}

impl Command {
    fn bytes(&self) -> usize {
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
