//! Tails and closes in real time.

use super::{
    super::history::{Answer, Call, Op},
    Report,
    facts::{Facts, Kind, Seen},
};

pub(super) fn check(facts: &Facts<'_>, report: &mut Report<'_>) {
    for seen in facts.seen.values() {
        tails_grow(seen, facts.ops, report);
        closes_last(seen, facts.ops, report);
    }
}

/// Of what had been answered before an operation began, the one with the greatest key.
pub(super) fn sweep<'s, K: Ord + Copy>(
    seen: &'s [Seen],
    key: impl Fn(&Seen) -> K,
    mut judge: impl FnMut(&'s Seen, &'s Seen),
) {
    let (mut ends, mut begins): (Vec<&Seen>, Vec<&Seen>) = (seen.iter().collect(), seen.iter().collect());
    ends.sort_by_key(|seen| seen.end);
    begins.sort_by_key(|seen| seen.begin);
    let (mut next, mut greatest): (usize, Option<&Seen>) = (0, None);
    for later in begins {
        while let Some(earlier) = ends.get(next)
            && earlier.end < later.begin
        {
            if greatest.is_none_or(|known| key(known) < key(earlier)) {
                greatest = Some(earlier);
            }
            next += 1;
        }
        if let Some(earlier) = greatest {
            judge(later, earlier);
        }
    }
}

fn tails_grow(seen: &[Seen], ops: &[Op], report: &mut Report<'_>) {
    sweep(
        seen,
        |seen| seen.at.position,
        |later, earlier| {
            let (now, before) = (later.at.position, earlier.at.position);
            let reads = matches!(ops[later.op].call, Call::Read { .. } | Call::Head);
            match later.kind {
                Kind::Added if now <= before => report.violation(
                    "order",
                    format!("the append ends at {now}, but the tail was {before} before it began"),
                    &[earlier.op, later.op],
                ),
                Kind::Tail if now < before => report.violation(
                    "fresh",
                    if reads && earlier.kind == Kind::Added {
                        format!("the read ends at {now} and lacks what was acknowledged up to {before} before it began")
                    } else {
                        format!("the tail went back from {before} to {now}")
                    },
                    &[earlier.op, later.op],
                ),
                _ => {}
            }
        },
    );
    // Appends end at different offsets.
    let mut ends: Vec<&Seen> = seen.iter().filter(|seen| seen.kind == Kind::Added).collect();
    ends.retain(|seen| matches!(&ops[seen.op].call, Call::Append { messages, .. } if !messages.is_empty()));
    ends.sort_by_key(|seen| seen.at.position);
    for pair in ends.windows(2) {
        if pair[0].at.position == pair[1].at.position {
            let what = "two appends were acknowledged at the same offset";
            report.violation("acknowledged", what, &[pair[0].op, pair[1].op]);
        }
    }
}

/// Finds what follows the close, and what has forgotten it.
fn closes_last(seen: &[Seen], ops: &[Op], report: &mut Report<'_>) {
    let Some(closed) = seen.iter().filter(|seen| seen.closed).min_by_key(|seen| seen.end) else {
        return;
    };
    let end = closed.at.position;
    for other in seen {
        let (at, begun_after) = (other.at.position, other.begin > closed.end);
        let pair = [closed.op, other.op];
        if at > end {
            report.violation(
                "closed",
                format!("the stream closed at {end} and has content up to {at}"),
                &pair,
            );
        } else if other.closed && other.kind != Kind::Lower && at != end {
            report.violation("closed", format!("the stream closed at {end} and at {at}"), &pair);
        } else if begun_after && !other.closed && other.kind != Kind::Lower {
            report.violation("closed", "the stream was closed, and then open", &pair);
        }
    }
    // Somebody must have asked for it.
    let born = seen
        .iter()
        .find(|seen| matches!(ops[seen.op].answer, Answer::Created { .. }));
    let born = born.map_or(0, |born| born.begin);
    let asked = ops.iter().any(|op| {
        let closes = match &op.call {
            Call::Create { closed } => *closed,
            Call::Append { close, .. } => *close,
            call => *call == Call::Close,
        };
        closes && op.begin < closed.end && (op.end > born || op.answer == Answer::Unknown)
    });
    if !asked {
        report.violation("closed", "nobody had closed the stream", &[closed.op]);
    }
}
