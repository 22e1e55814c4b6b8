//! How queued commands become batches: how long to wait for more, and how large a batch is.

use std::time::Duration;

use super::command::Request;

/// Commands in one batch.
const MAX_BATCH: usize = 4_096;
/// Bytes of content in one batch, beyond its first command.
const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// Wait for stragglers only after a batch of at least this many.
const MIN_BATCH: usize = 4;
/// Longest wait for stragglers, and never longer than [`MAX_WAIT_COMMITS`] commits take.
const MAX_WAIT: Duration = Duration::from_millis(1);
/// With 32 writers on a fast disk this saves a quarter of the commits at the same throughput.
const MAX_WAIT_COMMITS: u32 = 3;

/// Predicts the next batch from the last one: writers who were answered together tend to return
/// together, and one commit for all of them costs as much as one for the first.
#[derive(Default)]
pub(super) struct BatchPacer {
    last_batch: usize,
    last_commit: Duration,
}

impl BatchPacer {
    pub(super) fn record(&mut self, commands: usize, took: Duration) {
        self.last_batch = commands;
        self.last_commit = took;
    }

    /// How many commands to wait for.
    pub(super) fn expected(&self) -> usize {
        self.last_batch - self.last_batch / 8
    }

    /// How long to wait for them.
    pub(super) fn max_wait(&self) -> Duration {
        if self.last_batch < MIN_BATCH {
            Duration::ZERO
        } else {
            (MAX_WAIT_COMMITS * self.last_commit).min(MAX_WAIT)
        }
    }
}

/// Splits queued commands into batches of bounded size.
pub(super) fn batches(requests: Vec<Request>) -> impl Iterator<Item = Vec<Request>> {
    let mut requests = requests.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut batch = vec![requests.next()?];
        let mut bytes = 0;
        while batch.len() < MAX_BATCH {
            let Some(next) = requests.next_if(|next| bytes + next.bytes() <= MAX_BATCH_BYTES) else {
                break;
            };
            bytes += next.bytes();
            batch.push(next);
        }
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_writer_never_waits_and_a_crowd_waits_for_most_of_itself() {
        let mut pacer = BatchPacer::default();
        assert_eq!(pacer.max_wait(), Duration::ZERO);
        pacer.record(1, Duration::from_millis(5));
        assert_eq!(pacer.max_wait(), Duration::ZERO);
        pacer.record(32, Duration::from_micros(100));
        assert_eq!((pacer.expected(), pacer.max_wait()), (28, Duration::from_micros(300)));
        pacer.record(32, Duration::from_millis(5));
        assert_eq!(pacer.max_wait(), MAX_WAIT);
    }
}
