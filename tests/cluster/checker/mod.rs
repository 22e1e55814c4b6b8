//! Judges a history: is it one that a single server without faults could have given?
//!
//! Messages are unique, so no search is needed: a log is what its reads say, and each rule is a
//! pass over sorted operations, in O(n log n).
//!
//! - *acknowledged*: an acknowledged append is in the log once, and ends at the offset answered.
//! - *order*: an append that began after another was answered stands after it.
//! - *fresh*: a read that begins after an acknowledgement contains it, and tails never go back.
//! - *once*: no message is there twice, none that was refused, and an append is there as a whole.
//! - *closed*: nothing follows the close, and a closed stream stays closed.
//! - *content*: an offset has the same content for every reader; no gap, no repeat.
//! - *lives*: a name has one life at a time, each created once; a later life has a later number.
//! - *producer*: a producer's request is new once, and none is found missing that was accepted.

mod content;
mod facts;
mod lives;
mod producers;
mod times;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use super::history::{Answer, Call, Op};
use facts::Facts;

/// A rule that the history breaks, and the few operations that show it.
#[derive(Debug, Clone)]
pub struct Violation {
    pub rule: &'static str,
    pub what: String,
    pub ops: Vec<Op>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)?;
        self.ops.iter().try_for_each(|op| write!(f, "\n    {op}"))
    }
}

/// How much a history has of what the rules are about.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub operations: usize,
    pub acknowledged: usize,
    pub duplicates: usize,
    pub refused: usize,
    pub unknown: usize,
    pub reads: usize,
    pub messages_read: usize,
    pub lives: usize,
}

/// Collects violations of one name.
struct Report<'o> {
    ops: &'o [Op],
    found: Vec<Violation>,
}

impl Report<'_> {
    fn violation(&mut self, rule: &'static str, what: impl Into<String>, ops: &[usize]) {
        self.found.push(Violation {
            rule,
            what: what.into(),
            ops: ops.iter().map(|op| self.ops[*op].clone()).collect(),
        });
    }
}

/// All violations of a history, by name of the stream.
pub fn check(history: &[Op]) -> Vec<Violation> {
    let mut names: BTreeMap<&str, Vec<Op>> = BTreeMap::new();
    for op in history {
        names.entry(&op.name).or_default().push(op.clone());
    }
    let mut found = Vec::new();
    for ops in names.values() {
        let mut report = Report { ops, found: Vec::new() };
        let facts = Facts::of(ops, &mut report);
        times::check(&facts, &mut report);
        lives::check(&facts, &mut report);
        producers::check(&facts, &mut report);
        content::check(&facts, &mut report);
        found.extend(report.found);
    }
    found
}

pub fn summary(history: &[Op]) -> Summary {
    let mut sum = Summary {
        operations: history.len(),
        ..Summary::default()
    };
    for op in history {
        let append = matches!(op.call, Call::Append { .. });
        match &op.answer {
            Answer::Appended { duplicate: true, .. } => sum.duplicates += 1,
            Answer::Appended { .. } => sum.acknowledged += 1,
            Answer::Unknown if append => sum.unknown += 1,
            Answer::Created { .. } => sum.lives += 1,
            Answer::Content { messages, .. } => {
                sum.reads += 1;
                sum.messages_read += messages.len();
            }
            answer if append && answer.refuses() => sum.refused += 1,
            _ => {}
        }
    }
    sum
}
