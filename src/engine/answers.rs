//! Delivers replies.

use tokio::sync::mpsc;

use super::command::Request;

/// Delivers the replies of committed batches.
///
/// Waking a task from a thread outside the runtime may wake a worker, at the price of a context
/// switch; from inside the runtime it is nearly free. So a whole batch goes to one task, which
/// wakes the callers. Each caller has one command in flight, which bounds the channel.
#[derive(Default)]
pub(super) struct Answers(Option<mpsc::UnboundedSender<Vec<Request>>>);

impl Answers {
    /// Delivers through a task of this runtime.
    pub(super) fn by_task() -> Self {
        let (sender, mut batches) = mpsc::unbounded_channel::<Vec<Request>>();
        tokio::spawn(async move {
            while let Some(batch) = batches.recv().await {
                batch.into_iter().for_each(Request::answer);
            }
        });
        Self(Some(sender))
    }

    pub(super) fn deliver(&self, answered: Vec<Request>) {
        match &self.0 {
            // If the runtime is gone, so are the callers.
            Some(task) if answered.len() > 1 => _ = task.send(answered),
            _ => answered.into_iter().for_each(Request::answer),
        }
    }
}
