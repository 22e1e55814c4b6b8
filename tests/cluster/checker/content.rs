//! The log of a life, put together from its reads, and the appends in it.

use std::collections::{BTreeMap, HashMap};

use super::{
    super::history::{Message, NEVER},
    Report,
    facts::{Facts, Read},
};

/// A message in the log, and the read that showed it first.
#[derive(Clone, Copy)]
struct Entry {
    message: Message,
    op: usize,
}

/// The log of one life as far as reads show it.
#[derive(Default)]
struct Log {
    entries: Vec<Entry>,
    /// Offset → the messages before it, and the operation that says it.
    bounds: BTreeMap<u64, (usize, usize)>,
}

pub(super) fn check(facts: &Facts<'_>, report: &mut Report<'_>) {
    let mut found: HashMap<Message, (u64, usize)> = HashMap::new();
    for (life, reads) in &facts.reads {
        let Some(log) = Log::of(*life, reads, facts, report) else {
            continue;
        };
        for entry in &log.entries {
            let before = found.insert(entry.message, (*life, entry.op));
            let append = facts
                .sent
                .get(&entry.message)
                .map(|(append, _)| &facts.appends[*append]);
            // An append that was repeated may be in two lives: the first one's producers are gone.
            let may = append.is_some_and(|append| append.attempts > 1);
            if let Some((other, op)) = before
                && (other == *life || !may)
            {
                let what = format!("{:?} is there twice", entry.message);
                let mut ops: Vec<usize> = append.map(|append| append.first).into_iter().collect();
                ops.extend([op, entry.op]);
                ops.dedup();
                report.violation("once", what, &ops);
            }
        }
        appends_are_whole(&log, facts, report);
        acknowledged_are_there(*life, &log, facts, report);
        in_order(*life, &log, facts, report);
    }
}

impl Log {
    fn of(life: u64, reads: &[Read<'_>], facts: &Facts<'_>, report: &mut Report<'_>) -> Option<Self> {
        let mut log = Self::default();
        let mut sorted: Vec<&Read<'_>> = reads.iter().collect();
        sorted.sort_by_key(|read| (read.from, read.to));
        let ends: BTreeMap<u64, Message> = facts
            .appends
            .iter()
            .filter_map(|append| Some((append.ends.get(&life)?.1?, *append.messages.last()?)))
            .collect();
        let mut places: HashMap<Message, usize> = HashMap::new();
        let mut complete = true;
        for read in sorted {
            let from = match read.from {
                None => Some(0),
                Some(from) => log.bounds.get(&from).map(|(index, _)| *index).or_else(|| {
                    let place = ends.get(&from).and_then(|message| places.get(message));
                    place
                        .map(|place| place + 1)
                        .or_else(|| places.get(read.messages.first()?).copied())
                }),
            };
            // Content that no earlier read reaches: nothing to compare it with.
            let Some(from) = from else { continue };
            if !log.add(from, read, report) {
                complete = false;
                break;
            }
            for place in places.len()..log.entries.len() {
                places.entry(log.entries[place].message).or_insert(place);
            }
        }
        complete.then_some(log)
    }

    /// Compares a read with what is known, and extends it. False if they differ.
    fn add(&mut self, from: usize, read: &Read<'_>, report: &mut Report<'_>) -> bool {
        for (place, message) in read.messages.iter().enumerate() {
            match self.entries.get(from + place) {
                Some(known) if known.message == *message => {}
                Some(known) => {
                    let what = format!(
                        "the readers have {:?} and {message:?} at the same place, after {} messages",
                        known.message,
                        from + place
                    );
                    report.violation("content", what, &[known.op, read.op]);
                    return false;
                }
                None => self.entries.push(Entry {
                    message: *message,
                    op: read.op,
                }),
            }
        }
        let bounds = [
            read.from.map(|at| (at, from)),
            Some((read.to, from + read.messages.len())),
        ];
        for (at, count) in bounds.into_iter().flatten() {
            let (known, op) = *self.bounds.entry(at).or_insert((count, read.op));
            if known != count {
                let what = format!("before offset {at} are {known} messages, or {count}");
                report.violation("content", what, &[op, read.op]);
                return false;
            }
        }
        // Offsets and messages ascend together.
        let (known, op) = self.bounds[&read.to];
        let before = self.bounds.range(..read.to).next_back();
        let after = self.bounds.range(read.to + 1..).next();
        let wrong = [
            before.filter(|(_, (count, _))| *count > known),
            after.filter(|(_, (count, _))| *count < known),
        ];
        if let Some((at, (count, other))) = wrong.into_iter().flatten().next() {
            let what = format!(
                "before offset {at} are {count} messages, before {} are {known}",
                read.to
            );
            report.violation("content", what, &[*other, op]);
            return false;
        }
        true
    }
}

/// Each append is there with all its messages, side by side, and only if it may be there.
fn appends_are_whole(log: &Log, facts: &Facts<'_>, report: &mut Report<'_>) {
    let mut index = 0;
    while let Some(entry) = log.entries.get(index) {
        let Some((append, _)) = facts.sent.get(&entry.message) else {
            let what = format!("{:?} was never sent to this stream", entry.message);
            report.violation("once", what, &[entry.op]);
            index += 1;
            continue;
        };
        let append = &facts.appends[*append];
        let whole = (0..append.messages.len())
            .all(|place| log.entries.get(index + place).map(|entry| entry.message) == Some(append.messages[place]));
        if !whole {
            let what = "the append is there in part, or something stands within it";
            report.violation("once", what, &[append.first, entry.op]);
            index += 1;
            continue;
        }
        if append.refused == append.attempts {
            report.violation("once", "the append was refused and is there", &[append.first, entry.op]);
        }
        if facts.ops[entry.op].end < append.begin {
            report.violation(
                "content",
                "the append was read before it was sent",
                &[append.first, entry.op],
            );
        }
        index += append.messages.len();
    }
}

/// Each acknowledged append is where its answer says.
fn acknowledged_are_there(life: u64, log: &Log, facts: &Facts<'_>, report: &mut Report<'_>) {
    let places: HashMap<Message, usize> = log
        .entries
        .iter()
        .enumerate()
        .map(|(place, entry)| (entry.message, place))
        .collect();
    let known_to = log
        .bounds
        .iter()
        .filter(|(_, (count, _))| *count == log.entries.len())
        .map(|(at, _)| *at)
        .max();
    for append in &facts.appends {
        let (Some((acked, end)), Some(last)) = (append.ends.get(&life), append.messages.last()) else {
            continue;
        };
        let Some(place) = places.get(last) else {
            let end = end.or_else(|| {
                facts.seen[&life]
                    .iter()
                    .find(|seen| seen.op == *acked)
                    .map(|seen| seen.at.position)
            });
            if let (Some(end), Some(known_to)) = (end, known_to)
                && end <= known_to
            {
                let what = format!("{last:?} was acknowledged at {end} and is not there, up to {known_to}");
                let reader = log.bounds[&known_to].1;
                report.violation("acknowledged", what, &[*acked, reader]);
            }
            continue;
        };
        let Some(end) = *end else { continue };
        // The nearest offsets that a reader knows on both sides.
        let count = place + 1;
        let before = log.bounds.range(..=end).next_back();
        let after = log.bounds.range(end..).next();
        let wrong = [
            before.filter(|(at, (known, _))| if **at == end { *known != count } else { *known >= count }),
            after.filter(|(at, (known, _))| if **at == end { *known != count } else { *known < count }),
        ];
        if let Some((at, (known, reader))) = wrong.into_iter().flatten().next() {
            let what = format!(
                "{last:?} was acknowledged at {end} as message {count}, but before offset {at} are {known} messages"
            );
            report.violation("acknowledged", what, &[*acked, *reader]);
        }
        if let Some(expected) = append.expected
            && let Some((known, reader)) = log.bounds.get(&expected.position)
            && *known != count - append.messages.len()
        {
            let what = format!("the append was to follow offset {expected:?} and does not");
            report.violation("acknowledged", what, &[*acked, *reader]);
        }
    }
}

/// What was answered before another began stands before it, also if the other has no answer. The
/// offsets of acknowledged appends ascend.
fn in_order(life: u64, log: &Log, facts: &Facts<'_>, report: &mut Report<'_>) {
    let mut latest: Option<usize> = None;
    for entry in &log.entries {
        let Some((append, _)) = facts.sent.get(&entry.message) else {
            continue;
        };
        let append_facts = &facts.appends[*append];
        if let Some(before) = latest {
            let before = &facts.appends[before];
            // Another life's acknowledgement says nothing of this one.
            let acked = append_facts.ends.get(&life).map_or(NEVER, |(op, _)| facts.ops[*op].end);
            if acked < before.begin {
                let what = "the append stands after one that began when it had been answered";
                report.violation("order", what, &[append_facts.first, before.first]);
            }
        }
        if latest.is_none_or(|known| facts.appends[known].begin < append_facts.begin) {
            latest = Some(*append);
        }
    }
}
