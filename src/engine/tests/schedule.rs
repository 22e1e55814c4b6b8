//! Random requests to several streams, many in one batch, checked against a model. A seed always
//! replays the same schedule.

use super::*;
use crate::{
    protocol::{RetentionPolicy, frame},
    random::Random,
};

const STREAMS: usize = 8;
const ROUNDS: usize = 150;
/// The size that every other stream is trimmed to.
const KEPT: usize = 60;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Create,
    Delete,
    Append(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Created {
        new: bool,
    },
    Deleted,
    Appended {
        tail: u64,
    },
    NotFound,
    /// It may have happened or not.
    Failed,
}

/// A stream, and what it must hold; `None`: it must not exist.
struct Subject {
    stream: StreamName,
    request: CreateRequest,
    keeps_all: bool,
    model: Option<String>,
}

impl Subject {
    fn new(index: usize) -> Self {
        let keeps_all = index.is_multiple_of(2);
        let retention = RetentionPolicy {
            max_age_secs: None,
            max_bytes: Some(KEPT as u64),
        };
        Self {
            stream: name(&format!("s{index}")),
            request: CreateRequest {
                retention: (!keeps_all).then_some(retention),
                ..plain()
            },
            keeps_all,
            model: None,
        }
    }

    /// The outcome of a step that does not fail. Changes the model as the step does.
    fn expected(&mut self, step: &Step) -> Outcome {
        match (step, &mut self.model) {
            (Step::Create, model) => {
                let new = model.is_none();
                model.get_or_insert_default();
                Outcome::Created { new }
            }
            (Step::Delete | Step::Append(_), None) => Outcome::NotFound,
            (Step::Delete, model) => {
                *model = None;
                Outcome::Deleted
            }
            (Step::Append(text), Some(model)) => {
                model.push_str(text);
                // Each append has a header of one byte, and ends with the only space in it.
                let tail = (model.len() + model.matches(' ').count()) as u64;
                Outcome::Appended { tail }
            }
        }
    }

    /// After a failure, takes over what the store has.
    fn reset(&mut self, storage: &FailingStore) {
        self.model = storage.inner.get(&self.stream).unwrap().map(|stored| {
            let earliest = stored.record.earliest();
            let bytes = storage.inner.read(stored.record.id, earliest..stored.tail).unwrap();
            let trimmed = "?".repeat(usize::try_from(earliest).unwrap());
            let appends = frame::frames(&bytes, stored.record.framing);
            appends.fold(trimmed, |all, append| {
                all + std::str::from_utf8(&bytes[append]).unwrap()
            })
        });
    }

    fn agrees(&self, found: Option<&String>) -> bool {
        match (found, &self.model) {
            (Some(found), Some(model)) if self.keeps_all => found == model,
            (Some(found), Some(model)) => {
                model.ends_with(found.as_str()) && found.len() >= model.len().min(KEPT / 2) && found.len() <= KEPT
            }
            (found, model) => found == model.as_ref(),
        }
    }
}

async fn perform(engine: Engine, stream: StreamName, request: CreateRequest, step: Step) -> Outcome {
    match step {
        Step::Create => match engine.create(&stream, request).await {
            Ok(created) => Outcome::Created { new: created.new },
            Err(_) => Outcome::Failed,
        },
        Step::Delete => match engine.delete(&stream).await {
            Ok(()) => Outcome::Deleted,
            Err(DeleteError::NotFound) => Outcome::NotFound,
            Err(_) => Outcome::Failed,
        },
        Step::Append(text) => match append(&engine, &stream, &text).await {
            Ok(appended) => Outcome::Appended {
                tail: appended.tail.position,
            },
            Err(AppendError::NotFound) => Outcome::NotFound,
            Err(_) => Outcome::Failed,
        },
    }
}

/// Performs steps on different streams, which the committer finds in its queue all at once.
async fn perform_together(engine: &Engine, subjects: &[Subject], steps: &[Step]) -> Vec<Outcome> {
    let committer = &engine.shared.committer;
    let held = hold_committer(engine).await;
    let tasks = subjects.iter().zip(steps).map(|(subject, step)| {
        let (stream, request) = (subject.stream.clone(), subject.request.clone());
        tokio::spawn(perform(engine.clone(), stream, request, step.clone()))
    });
    let tasks: Vec<_> = tasks.collect();
    let is_done = |task: &tokio::task::JoinHandle<_>| task.is_finished();
    while tasks.iter().filter(|task| is_done(task)).count() + committer.queued() < tasks.len() {
        tokio::task::yield_now().await;
    }
    drop(held);
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// Runs a schedule. Returns everything that was seen.
async fn run(seed: u64, faults: bool) -> Vec<(Outcome, Option<String>)> {
    let random = Random::seeded(seed);
    let storage = FailingStore::new(0);
    let engine = start_at(Arc::clone(&storage) as _, &Clock::manual(1_000_000));
    let mut subjects: Vec<Subject> = (0..STREAMS).map(Subject::new).collect();
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let draw = |index| match random.between(0, 9) {
            0 | 1 => Step::Create,
            2 => Step::Delete,
            _ => Step::Append(format!("{index}.{round} ")),
        };
        let steps: Vec<Step> = (0..STREAMS).map(draw).collect();
        if faults && random.between(0, 2) == 0 {
            let fault = if random.between(0, 1) == 0 {
                Fault::Refused
            } else {
                Fault::Landed
            };
            *storage.fault.lock() = Some(fault);
        }
        let outcomes = perform_together(&engine, &subjects, &steps).await;
        for ((subject, step), outcome) in subjects.iter_mut().zip(&steps).zip(outcomes) {
            if outcome == Outcome::Failed {
                assert!(faults, "seed {seed} round {round}: {step:?}");
                subject.reset(&storage);
            } else {
                let expected = subject.expected(step);
                assert_eq!(outcome, expected, "seed {seed} round {round}: {step:?}");
            }
            let found = content(&engine, &subject.stream).await.ok();
            assert!(
                subject.agrees(found.as_ref()),
                "seed {seed} round {round}: {found:?} for {:?}",
                subject.model
            );
            seen.push((outcome, found));
        }
    }
    let commits = storage.commits.load(SeqCst);
    assert!(commits <= ROUNDS, "{commits} commits for {ROUNDS} rounds");
    engine.stop().await;
    seen
}

#[tokio::test]
async fn acknowledged_changes_are_there() {
    for seed in 1..=5 {
        run(seed, false).await;
    }
}

#[tokio::test]
async fn after_a_failure_memory_is_as_the_store_is() {
    for seed in 1..=5 {
        run(seed, true).await;
    }
}

#[tokio::test]
async fn a_seed_replays_its_schedule() {
    assert_eq!(run(11, true).await, run(11, true).await);
}
