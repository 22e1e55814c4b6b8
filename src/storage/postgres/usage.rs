//! The contents of the store: what the database says from time to time, and this server's commits since.
//! Commits of other servers count with a delay.
//!
//! The database adds up the whole log only at first, and now and then. In between, it is asked for what commits
//! have added since, lane by lane.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::storage::Usage;

/// How old an answer may be that another one continues: rows of the log are kept for a minute at least.
const MAX_AGE: Duration = Duration::from_secs(30);
/// How often the whole log is added up, in case that a row was removed before it was counted.
const RECOUNT_INTERVAL: Duration = Duration::from_secs(600);
/// This server's commits that are kept apart. Beyond it, each counts together with its neighbour.
const MAX_OWN: usize = 8_192;

#[derive(Default)]
pub(super) struct UsageCount(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// The part that the database has counted.
    counted: Amount,
    /// The growth by this server's commits that it has not counted.
    own: Amount,
    own_commits: Vec<Growth>,
    basis: Option<Basis>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Amount {
    streams: i64,
    bytes: i64,
}

impl Amount {
    fn add(&mut self, growth: &Growth) {
        self.streams += growth.streams;
        self.bytes += growth.bytes;
    }

    fn of(growths: &[Growth]) -> Self {
        let mut amount = Self::default();
        growths.iter().for_each(|growth| amount.add(growth));
        amount
    }
}

/// Where the next count of the database begins.
struct Basis {
    history: u64,
    /// Up to which commit of each lane.
    lanes: HashMap<i64, i64>,
    counted_at: Instant,
    recounted_at: Instant,
}

/// By how much commits of a lane up to `n` have changed the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    pub(super) lane: i64,
    pub(super) n: i64,
    pub(super) streams: i64,
    pub(super) bytes: i64,
}

/// A question to the database, from which commit of each lane on; `None`: from the beginning.
pub(super) struct Question {
    history: u64,
    asked_at: Instant,
    lanes: Option<HashMap<i64, i64>>,
}

impl Question {
    /// The lanes, and the commit of each.
    pub(super) fn vector(&self) -> Option<(Vec<i64>, Vec<i64>)> {
        self.lanes.as_ref().map(|lanes| lanes.iter().unzip())
    }
}

impl UsageCount {
    /// A commit of this server has changed the store.
    pub(super) fn committed(&self, growth: Growth) {
        let mut counted = self.0.lock();
        counted.own.add(&growth);
        if counted.own_commits.len() >= MAX_OWN {
            counted.own_commits = counted.own_commits.chunks(2).filter_map(together).collect();
        }
        counted.own_commits.push(growth);
    }

    /// The next question to the database, which has this history.
    pub(super) fn question(&self, history: u64, now: Instant) -> Question {
        let counted = self.0.lock();
        let age = |since: Instant| now.saturating_duration_since(since);
        let basis = counted.basis.as_ref().filter(|basis| {
            basis.history == history && age(basis.counted_at) < MAX_AGE && age(basis.recounted_at) < RECOUNT_INTERVAL
        });
        Question {
            history,
            asked_at: now,
            lanes: basis.map(|basis| basis.lanes.clone()),
        }
    }

    /// The database has answered a question.
    pub(super) fn counted(&self, question: Question, answer: &[Growth]) {
        let mut counted = self.0.lock();
        let begun = counted.basis.take().filter(|_| question.lanes.is_some());
        if begun.is_none() {
            counted.counted = Amount::default();
        }
        let mut lanes = question.lanes.unwrap_or_default();
        for growth in answer {
            counted.counted.add(growth);
            lanes.insert(growth.lane, growth.n);
        }
        counted
            .own_commits
            .retain(|own| lanes.get(&own.lane).is_none_or(|n| own.n > *n));
        counted.own = Amount::of(&counted.own_commits);
        counted.basis = Some(Basis {
            history: question.history,
            lanes,
            counted_at: question.asked_at,
            recounted_at: begun.map_or(question.asked_at, |basis| basis.recounted_at),
        });
    }

    /// Another lane begins.
    pub(super) fn reset(&self) {
        let mut counted = self.0.lock();
        counted.own_commits.clear();
        counted.own = Amount::default();
    }

    pub(super) fn usage(&self) -> Usage {
        let counted = self.0.lock();
        let count = |counted: i64, own: i64| u64::try_from(counted + own).unwrap_or(0);
        Usage {
            streams: count(counted.counted.streams, counted.own.streams),
            bytes: count(counted.counted.bytes, counted.own.bytes),
        }
    }
}

/// Commits of one lane that follow each other, as one that counts once the last of them does.
fn together(commits: &[Growth]) -> Option<Growth> {
    let Amount { streams, bytes } = Amount::of(commits);
    let last = *commits.last()?;
    Some(Growth { streams, bytes, ..last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const HISTORY: u64 = 7;

    fn growth(lane: i64, n: i64, bytes: i64) -> Growth {
        Growth {
            lane,
            n,
            streams: 0,
            bytes,
        }
    }

    fn bytes(usage: &UsageCount) -> u64 {
        usage.usage().bytes
    }

    #[test]
    fn the_database_counts_on_from_its_last_answer_until_that_is_old() {
        let (usage, clock) = (UsageCount::default(), Clock::manual(1));
        let first = usage.question(HISTORY, clock.instant());
        assert!(first.vector().is_none());
        usage.counted(first, &[growth(0, 0, 1_000), growth(3, 5, 10)]);
        usage.committed(growth(3, 6, 1));
        assert_eq!(bytes(&usage), 1_011);
        let next = usage.question(HISTORY, clock.instant());
        usage.committed(growth(3, 7, 2));
        assert_eq!(next.lanes, Some(HashMap::from([(0, 0), (3, 5)])));
        usage.counted(next, &[growth(3, 6, 1), growth(4, 1, 100)]);
        assert_eq!(bytes(&usage), 1_113);
        let vector = usage.question(HISTORY, clock.instant()).lanes;
        assert_eq!(vector, Some(HashMap::from([(0, 0), (3, 6), (4, 1)])));
        // The log may not have the rows that follow, or not in this history.
        assert!(usage.question(8, clock.instant()).vector().is_none());
        clock.advance(MAX_AGE);
        let again = usage.question(HISTORY, clock.instant());
        assert!(again.vector().is_none());
        usage.counted(again, &[growth(0, 0, 1_100), growth(3, 7, 20)]);
        assert_eq!(bytes(&usage), 1_120);
    }

    #[test]
    fn everything_is_counted_again_now_and_then() {
        let (usage, clock) = (UsageCount::default(), Clock::manual(1));
        let mut recounts = 0;
        for _ in 0..=2 * RECOUNT_INTERVAL.as_secs() / 5 {
            let question = usage.question(HISTORY, clock.instant());
            recounts += usize::from(question.vector().is_none());
            usage.counted(question, &[]);
            clock.advance(Duration::from_secs(5));
        }
        assert_eq!(recounts, 3);
    }

    #[test]
    fn commits_that_cannot_be_counted_take_bounded_memory() {
        let usage = UsageCount::default();
        let commits = 3 * MAX_OWN as i64;
        (1..=commits).for_each(|n| usage.committed(growth(3, n, 2)));
        assert!(usage.0.lock().own_commits.len() <= MAX_OWN);
        assert_eq!(bytes(&usage), 2 * commits as u64);
        let now = Clock::manual(1).instant();
        usage.counted(usage.question(HISTORY, now), &[growth(3, commits - 1, 0)]);
        assert_eq!(bytes(&usage), 2);
        usage.counted(usage.question(HISTORY, now), &[growth(3, commits, 2)]);
        assert_eq!((bytes(&usage), usage.0.lock().own_commits.len()), (2, 0));
    }
}
