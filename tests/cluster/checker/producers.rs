//! Producers: what one request of a producer was told must agree with the others.

use std::collections::HashMap;

use super::{
    super::history::{Answer, Call, Stamp},
    Report,
    facts::Facts,
};

pub(super) fn check(facts: &Facts<'_>, report: &mut Report<'_>) {
    let deleted = facts.ops.iter().any(|op| op.call == Call::Delete);
    // Client and stamp → the acknowledgement that came first.
    let mut accepted: HashMap<(u16, Stamp), usize> = HashMap::new();
    // Client → the highest epoch that it sent.
    let mut epochs: HashMap<u16, u64> = HashMap::new();
    for (number, op) in facts.ops.iter().enumerate() {
        let Call::Append { stamp: Some(stamp), .. } = &op.call else {
            continue;
        };
        let epoch = epochs.entry(op.client).or_default();
        *epoch = stamp.epoch.max(*epoch);
        if matches!(op.answer, Answer::Appended { .. }) {
            let first = accepted.entry((op.client, *stamp)).or_insert(number);
            if facts.ops[*first].end > op.end {
                *first = number;
            }
        }
    }
    for (number, op) in facts.ops.iter().enumerate() {
        let Call::Append { stamp: Some(stamp), .. } = &op.call else {
            continue;
        };
        let known = |seq: u64| {
            let before = accepted.get(&(op.client, Stamp { seq, ..*stamp }));
            before.copied().filter(|before| facts.ops[*before].end < op.begin)
        };
        match &op.answer {
            // With a deletion in the history, the producer may have met another life of the stream.
            Answer::Gap { expected } if !deleted => {
                if let Some(before) = stamp.seq.checked_sub(1).and_then(known) {
                    let what = format!("a request was missed (expected {expected}) that had been accepted");
                    report.violation("producer", what, &[before, number]);
                }
            }
            Answer::StaleEpoch { epoch } if epochs.get(&op.client).is_none_or(|sent| sent < epoch) => {
                let what = format!("epoch {epoch} was never sent");
                report.violation("producer", what, &[number]);
            }
            _ => {}
        }
    }
}
