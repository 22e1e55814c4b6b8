//! Creations and deletions: a name has one life at a time.

use std::collections::BTreeMap;

use super::{
    super::history::{Answer, Call, NEVER, Nanos, Op},
    Report,
    facts::{Facts, Seen},
    times::sweep,
};

/// When a life was surely there.
struct Span {
    /// The first answer that shows it, by its end.
    first: Seen,
    /// The last operation that shows it, by its beginning.
    last: Seen,
}

pub(super) fn check(facts: &Facts<'_>, report: &mut Report<'_>) {
    let spans: BTreeMap<u64, Span> = facts
        .seen
        .iter()
        .filter_map(|(life, seen)| Some((*life, span(seen)?)))
        .collect();
    later_lives_have_later_numbers(facts, report);
    created_once(facts, &spans, report);
    let gaps = gaps(facts);
    interrupted(&spans, &gaps, report);
    vanished(facts, &spans, &gaps, report);
    deleted_once(facts, &spans, report);
}

fn span(seen: &[Seen]) -> Option<Span> {
    Some(Span {
        first: *seen.iter().min_by_key(|seen| seen.end)?,
        last: *seen.iter().max_by_key(|seen| seen.begin)?,
    })
}

fn later_lives_have_later_numbers(facts: &Facts<'_>, report: &mut Report<'_>) {
    let all: Vec<Seen> = facts.seen.values().flatten().copied().collect();
    sweep(
        &all,
        |seen| seen.at.life,
        |later, earlier| {
            if later.at.life < earlier.at.life {
                let what = format!("life {} was seen after life {}", later.at.life, earlier.at.life);
                report.violation("lives", what, &[earlier.op, later.op]);
            }
        },
    );
}

fn created_once(facts: &Facts<'_>, spans: &BTreeMap<u64, Span>, report: &mut Report<'_>) {
    for (life, seen) in &facts.seen {
        let created: Vec<&Seen> = seen
            .iter()
            .filter(|seen| matches!(facts.ops[seen.op].answer, Answer::Created { .. }))
            .collect();
        if let [first, second, ..] = created[..] {
            report.violation("lives", "the same life was created twice", &[first.op, second.op]);
        }
        let Some(span) = spans.get(life) else { continue };
        if let Some(created) = created.first() {
            if span.first.end < created.begin {
                let what = "the stream was there before it was created";
                report.violation("lives", what, &[span.first.op, created.op]);
            }
        } else {
            let unanswered = |op: &&Op| {
                matches!(op.call, Call::Create { .. }) && op.answer == Answer::Unknown && op.begin < span.first.end
            };
            if !facts.ops.iter().any(|op| unanswered(&op)) {
                report.violation("lives", "nobody had created the stream", &[span.first.op]);
            }
        }
    }
}

/// An operation at some moment of which there was no stream, or not this one.
struct Gap {
    begin: Nanos,
    op: usize,
    /// The earliest end among this gap and all that begin later, and whose it is.
    ends: (Nanos, usize),
}

/// By life: what says that it had ended. `None`: any life.
fn gaps(facts: &Facts<'_>) -> BTreeMap<Option<u64>, Vec<Gap>> {
    let mut gaps: BTreeMap<Option<u64>, Vec<Gap>> = BTreeMap::new();
    for (number, op) in facts.ops.iter().enumerate() {
        let life = match (&op.answer, &op.call) {
            (Answer::Absent | Answer::Deleted, _) => None,
            (Answer::OtherLife, Call::Read { from: Some(from), .. }) => Some(from.life),
            _ => continue,
        };
        gaps.entry(life).or_default().push(Gap {
            begin: op.begin,
            op: number,
            ends: (op.end, number),
        });
    }
    for gaps in gaps.values_mut() {
        gaps.sort_by_key(|gap| gap.begin);
        let mut earliest = (Nanos::MAX, 0);
        for gap in gaps.iter_mut().rev() {
            earliest = earliest.min(gap.ends);
            gap.ends = earliest;
        }
    }
    gaps
}

/// Finds an answer that says that a life had ended, between two that show it.
fn interrupted(spans: &BTreeMap<u64, Span>, gaps: &BTreeMap<Option<u64>, Vec<Gap>>, report: &mut Report<'_>) {
    for (life, span) in spans {
        for gaps in [gaps.get(&None), gaps.get(&Some(*life))].into_iter().flatten() {
            let next = gaps.partition_point(|gap| gap.begin <= span.first.end);
            let Some((end, gap)) = gaps.get(next).map(|gap| gap.ends) else {
                continue;
            };
            if end < span.last.begin {
                let what = format!("life {life} was over, and was then there again");
                report.violation("lives", what, &[span.first.op, gap, span.last.op]);
            }
        }
    }
}

/// Finds a stream that is gone although nobody deleted it.
fn vanished(
    facts: &Facts<'_>,
    spans: &BTreeMap<u64, Span>,
    gaps: &BTreeMap<Option<u64>, Vec<Gap>>,
    report: &mut Report<'_>,
) {
    // Deletions by beginning, each with the latest end so far.
    let mut deletes: Vec<(Nanos, Nanos)> = facts
        .ops
        .iter()
        .filter(|op| op.call == Call::Delete && matches!(op.answer, Answer::Deleted | Answer::Unknown))
        .map(|op| (op.begin, if op.answer == Answer::Unknown { NEVER } else { op.end }))
        .collect();
    deletes.sort_unstable();
    let mut latest = 0;
    for delete in &mut deletes {
        latest = latest.max(delete.1);
        delete.1 = latest;
    }
    // When lives were there, each with the latest of them so far.
    let mut there: Vec<(Nanos, u64)> = spans.iter().map(|(life, span)| (span.first.end, *life)).collect();
    there.sort_unstable();
    let mut latest = 0;
    for (_, life) in &mut there {
        latest = latest.max(*life);
        *life = latest;
    }
    for (life, gaps) in gaps {
        for gap in gaps.iter().filter(|gap| facts.ops[gap.op].answer != Answer::Deleted) {
            let known = there.partition_point(|(end, _)| *end < gap.begin).checked_sub(1);
            let Some(span) = life
                .or(known.map(|known| there[known].1))
                .and_then(|life| spans.get(&life))
            else {
                continue;
            };
            let before = deletes.partition_point(|(begin, _)| *begin < facts.ops[gap.op].end);
            let born = facts.ops[span.first.op].begin;
            if before.checked_sub(1).is_none_or(|last| deletes[last].1 <= born) {
                let what = "the stream is gone, and nobody had deleted it";
                report.violation("lives", what, &[span.first.op, gap.op]);
            }
        }
    }
}

fn deleted_once(facts: &Facts<'_>, spans: &BTreeMap<u64, Span>, report: &mut Report<'_>) {
    let deleted: Vec<usize> = (0..facts.ops.len())
        .filter(|op| facts.ops[*op].answer == Answer::Deleted)
        .collect();
    // A life that only its creator could have seen may be missing from the answers.
    let unanswered = facts
        .ops
        .iter()
        .filter(|op| matches!(op.call, Call::Create { .. }) && op.answer == Answer::Unknown)
        .count();
    if deleted.len() > spans.len() + unanswered {
        let what = format!("{} deletions of {} lives were confirmed", deleted.len(), spans.len());
        report.violation("lives", what, &deleted);
    }
}
