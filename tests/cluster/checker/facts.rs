//! What the operations on one name say, sorted for the rules.

use std::collections::{BTreeMap, HashMap};

use super::{
    super::history::{Answer, Call, Message, Nanos, Offset, Op},
    Report,
};

/// What an answer says of the stream's state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) op: usize,
    pub(super) begin: Nanos,
    pub(super) end: Nanos,
    /// The tail was here or further when the answer arrived.
    pub(super) at: Offset,
    pub(super) kind: Kind,
    /// The stream was closed when the answer arrived.
    pub(super) closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The content that this append added ends here.
    Added,
    /// The tail at some moment of the operation.
    Tail,
    /// Perhaps the tail of an earlier moment.
    Lower,
}

/// An append and all its attempts.
#[derive(Debug, Clone)]
pub(super) struct Append {
    pub(super) first: usize,
    pub(super) begin: Nanos,
    pub(super) messages: Vec<Message>,
    /// The lives that acknowledged it, and where it ends if the answer says it.
    pub(super) ends: BTreeMap<u64, (usize, Option<u64>)>,
    pub(super) expected: Option<Offset>,
    pub(super) attempts: usize,
    pub(super) refused: usize,
}

/// A range of content that a reader got.
#[derive(Debug, Clone)]
pub(super) struct Read<'o> {
    pub(super) op: usize,
    /// `None`: the start.
    pub(super) from: Option<u64>,
    pub(super) to: u64,
    pub(super) messages: &'o [Message],
}

#[derive(Debug, Default)]
pub(super) struct Facts<'o> {
    pub(super) ops: &'o [Op],
    pub(super) seen: BTreeMap<u64, Vec<Seen>>,
    pub(super) reads: BTreeMap<u64, Vec<Read<'o>>>,
    pub(super) appends: Vec<Append>,
    /// Message → append and place in it.
    pub(super) sent: HashMap<Message, (usize, usize)>,
}

impl<'o> Facts<'o> {
    pub(super) fn of(ops: &'o [Op], report: &mut Report<'_>) -> Self {
        let mut facts = Self { ops, ..Self::default() };
        for number in 0..ops.len() {
            facts.see(number);
            facts.send(number, report);
            facts.read(number, report);
        }
        facts
    }

    fn see(&mut self, number: usize) {
        let op = &self.ops[number];
        let (at, kind, closed) = match &op.answer {
            Answer::Created { tail, closed } => (*tail, Kind::Tail, *closed),
            Answer::State { tail, closed } => (*tail, Kind::Tail, *closed),
            Answer::Closed { tail } => (*tail, Kind::Tail, true),
            Answer::UnexpectedTail { tail } => (*tail, Kind::Lower, false),
            Answer::Appended {
                tail,
                closed,
                duplicate,
            } => (*tail, if *duplicate { Kind::Lower } else { Kind::Added }, *closed),
            Answer::Content {
                next,
                up_to_date,
                closed,
                ..
            } => (*next, if *up_to_date { Kind::Tail } else { Kind::Lower }, *closed),
            _ => return,
        };
        let seen = Seen {
            op: number,
            begin: op.begin,
            end: op.end,
            at,
            kind,
            closed,
        };
        self.seen.entry(at.life).or_default().push(seen);
    }

    fn send(&mut self, number: usize, report: &mut Report<'_>) {
        let op = &self.ops[number];
        let Call::Append { messages, expected, .. } = &op.call else {
            return;
        };
        let Some(first) = messages.first() else { return };
        let index = match self.sent.get(first) {
            Some((index, _)) => *index,
            None => {
                let index = self.appends.len();
                self.appends.push(Append {
                    first: number,
                    begin: op.begin,
                    messages: messages.clone(),
                    ends: BTreeMap::new(),
                    expected: *expected,
                    attempts: 0,
                    refused: 0,
                });
                let places = messages.iter().enumerate();
                self.sent
                    .extend(places.map(|(place, message)| (*message, (index, place))));
                index
            }
        };
        let append = &mut self.appends[index];
        append.attempts += 1;
        append.begin = append.begin.min(op.begin);
        match &op.answer {
            Answer::Appended { tail, duplicate, .. } => {
                let end = (!duplicate).then_some(tail.position);
                let known = append.ends.entry(tail.life).or_insert((number, None));
                if let (other, Some(_)) = *known
                    && end.is_some()
                {
                    report.violation("producer", "the same append was new twice", &[other, number]);
                } else if end.is_some() {
                    *known = (number, end);
                }
            }
            answer if answer.refuses() => append.refused += 1,
            _ => {}
        }
    }

    fn read(&mut self, number: usize, report: &mut Report<'_>) {
        let op = &self.ops[number];
        let (Call::Read { from, .. }, Answer::Content { messages, next, .. }) = (&op.call, &op.answer) else {
            return;
        };
        if let Some(from) = from
            && (from.life != next.life || from.position > next.position)
        {
            report.violation("content", "the read ends before its beginning, or elsewhere", &[number]);
            return;
        }
        let read = Read {
            op: number,
            from: from.map(|from| from.position),
            to: next.position,
            messages,
        };
        self.reads.entry(next.life).or_default().push(read);
    }
}
