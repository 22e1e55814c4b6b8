//! How outcomes get to those who wait for them.

use tokio::sync::{mpsc, oneshot};

use super::request::Outcome;

/// Who waits for an outcome, and the outcome.
pub(super) type Answer = (oneshot::Sender<Outcome>, Outcome);

/// The way to those who wait.
///
/// To wake a task from a thread outside the runtime may mean to wake a worker, and costs a
/// switch to it; from inside it costs next to nothing. So a batch of answers goes to one task,
/// which hands them out. There are never more of them than callers.
#[derive(Default)]
pub(super) struct Answers(Option<mpsc::UnboundedSender<Vec<Answer>>>);

impl Answers {
    /// Has them handed out by a task of this runtime.
    pub(super) fn by_task() -> Self {
        let (sender, mut batches) = mpsc::unbounded_channel::<Vec<Answer>>();
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                batch.into_iter().for_each(hand_out);
            }
        });
        Self(Some(sender))
    }

    pub(super) fn give(&self, answers: impl Iterator<Item = Answer>) {
        match &self.0 {
            None => answers.for_each(hand_out),
            Some(task) => {
                let mut answers: Vec<Answer> = answers.collect();
                if answers.len() > 1 {
                    // If the runtime has gone, so have they.
                    let _ = task.send(answers);
                } else if let Some(only) = answers.pop() {
                    hand_out(only);
                }
            }
        }
    }
}

pub(super) fn hand_out((reply, outcome): Answer) {
    // Who has gone does not wait for an answer.
    let _ = reply.send(outcome);
}
