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
    cache::StreamCache,
    errors::Unavailable,
    request::{Command, Outcome},
    transaction::{Context, Transaction},
};
use crate::{
    clock,
    storage::{CommitError, Storage, StreamId},
    telemetry::Metrics,
};

/// Commands that may wait. Beyond that, writers are told to come back.
const MAX_QUEUE: usize = 100_000;
/// How many commands one batch takes at most.
const MAX_BATCH: usize = 4_096;
/// How many bytes of content one batch takes at most, beyond its first command.
const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// From how many commands in the last batch on the next one is waited for.
const CROWD: usize = 4;
/// How long it is waited for at most, and never longer than the last commit took.
const MAX_GATHER: Duration = Duration::from_micros(500);
/// Ids set aside at once.
const ID_BLOCK: u64 = 1 << 16;
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
        if queue.requests.len() >= MAX_QUEUE {
            drop(queue);
            return request.refuse(Unavailable::Overloaded);
        }
        queue.requests.push(request);
        if queue.requests.len() == queue.wanted {
            drop(queue);
            self.filled.notify_one();
        }
    }

    /// Takes no more commands. What waits already is still committed.
    pub(super) fn stop(&self) {
        self.queue.lock().stopping = true;
        self.filled.notify_all();
    }

    /// Commits until stopped. Runs on a thread of its own; a store that does not block only
    /// gets its upkeep here.
    pub(super) fn run(&self) {
        let mut rest = Duration::ZERO;
        let mut crowd = Crowd::default();
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
        let context = Context {
            storage: &*self.storage,
            cache: &self.cache,
            limits: self.limits,
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
        match committed {
            Ok(()) => {
                tx.publish();
                for (request, outcome) in requests.into_iter().zip(outcomes) {
                    request.answer(outcome);
                }
            }
            // One that does not fit must not refuse the others.
            Err(CommitError::Full(_)) if requests.len() > 1 => {
                drop(tx);
                for request in requests {
                    self.process(vec![request]);
                }
            }
            Err(error) => {
                tracing::error!(%error, commands = requests.len(), "a batch was not committed");
                let unavailable = Unavailable::from(&error);
                for request in requests {
                    request.refuse(unavailable.clone());
                }
            }
        }
    }
}

impl Request {
    fn answer(self, outcome: Outcome) {
        if let Some(reply) = self.reply {
            // Who has gone does not wait for an answer.
            let _ = reply.send(outcome);
        }
    }

    fn refuse(self, why: Unavailable) {
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
