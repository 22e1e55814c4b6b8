//! How commands become batches: how long to wait for more, and how much is one batch.

use std::time::Duration;

use super::committer::Request;

/// How many commands one batch takes at most.
const MAX_BATCH: usize = 4_096;
/// How many bytes of content one batch takes at most, beyond its first command.
const MAX_BATCH_BYTES: usize = 16 * 1024 * 1024;
/// From how many commands in the last batch on the next one is waited for.
const CROWD: usize = 4;
/// How long it is waited for at most, and never longer than [`PATIENCE`] commits take.
const MAX_GATHER: Duration = Duration::from_millis(1);
/// What one commit more would cost everybody, a little wait saves: with 32 writers on a fast
/// disk a quarter of the commits, at the same throughput.
const PATIENCE: u32 = 3;

/// What the last batch teaches about the next: writers who were answered together tend to
/// come back together, and one commit for all of them costs as much as one for the first.
#[derive(Default)]
pub(super) struct Crowd {
    pub(super) last_batch: usize,
    pub(super) last_commit: Duration,
}

impl Crowd {
    /// How many to wait for.
    pub(super) fn size(&self) -> usize {
        self.last_batch - self.last_batch / 8
    }

    /// How long at most.
    pub(super) fn patience(&self) -> Duration {
        if self.last_batch < CROWD {
            Duration::ZERO
        } else {
            (PATIENCE * self.last_commit).min(MAX_GATHER)
        }
    }
}

/// Splits what has gathered into batches of bounded size.
pub(super) fn batches(requests: Vec<Request>) -> impl Iterator<Item = Vec<Request>> {
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
