//! The findings of a check: sentences that name a stream, what is wrong with it, and what to do.

use std::fmt;

use crate::storage::StoreReport;

/// Problems beyond this number are only counted.
const MAX_PROBLEMS: usize = 1_000;

/// For damage that no statement mends.
pub(super) const LOST: &str = "restore a backup, or delete the stream";

#[derive(Default)]
pub(super) struct Findings {
    problems: Vec<String>,
    more: usize,
}

impl Findings {
    /// A problem of a stream, and what to do.
    pub(super) fn stream(&mut self, name: &str, problem: impl fmt::Display, remedy: impl fmt::Display) {
        self.add(format_args!("`{name}` {problem}: {remedy}"));
    }

    /// A problem of the database, and what to do.
    pub(super) fn add(&mut self, problem: fmt::Arguments<'_>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem.to_string());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn report(self, streams: u64, bytes: u64) -> StoreReport {
        let mut problems = self.problems;
        if self.more > 0 {
            problems.push(format!("{} more problems", self.more));
        }
        StoreReport {
            streams,
            bytes,
            problems,
        }
    }
}
