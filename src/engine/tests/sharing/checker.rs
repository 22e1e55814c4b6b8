//! Whether what servers have answered is what one server could have answered.
//!
//! The store's log is the order of all changes. Every request was under way between two moments of
//! that log, and its answer must be right at one of them. So an acknowledged append is there once, at
//! the offset answered; a read contains what was acknowledged before it began; tails never go back;
//! and a refusal was justified while the request was under way.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::{
    protocol::{Offset, frame},
    storage::{Progress, StreamRecord},
};

/// A stream between two changes of the log.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    pub(super) id: StreamId,
    pub(super) tail: Position,
    pub(super) closed: bool,
    pub(super) next_seq: u64,
    content: Arc<String>,
}

/// All streams of a name: each with the moment since which it is so.
type Timeline = Vec<(usize, Option<State>)>;

/// What a log says.
pub(super) struct Truth {
    names: HashMap<StreamName, Timeline>,
    /// Each message, with its stream, where it ends, and the moment before it.
    messages: HashMap<(StreamId, String), (Position, usize)>,
    /// The content of each stream, by where each message ends.
    contents: HashMap<StreamId, BTreeMap<Position, String>>,
}

impl Truth {
    pub(super) fn of(log: &[Vec<Change>]) -> Self {
        let mut truth = Self {
            names: HashMap::new(),
            messages: HashMap::new(),
            contents: HashMap::new(),
        };
        let mut records: HashMap<StreamId, (StreamName, StreamRecord)> = HashMap::new();
        for (moment, batch) in log.iter().enumerate() {
            for change in batch {
                let id = match change {
                    Change::Put { record, .. } => record.id,
                    Change::Append { id, .. } | Change::Writer { id, .. } | Change::Remove { id, .. } => *id,
                };
                if let Change::Put { name, record } = change {
                    records.insert(id, (name.clone(), record.clone()));
                }
                let (name, record) = &records[&id];
                let timeline = truth.names.entry(name.clone()).or_insert_with(|| vec![(0, None)]);
                let mut state = timeline.last().unwrap().1.clone();
                match change {
                    Change::Remove { .. } => state = None,
                    Change::Put { record, .. } => {
                        let state = state.get_or_insert_with(|| State {
                            id,
                            tail: record.first(),
                            closed: false,
                            next_seq: 0,
                            content: Arc::default(),
                        });
                        assert!(
                            state.id == id && (record.closed || !state.closed),
                            "{state:?} {record:?}"
                        );
                        state.closed = record.closed;
                    }
                    Change::Append { at, data, .. } => {
                        let state = state.as_mut().unwrap();
                        assert_eq!(*at, state.tail);
                        // A batch that closes puts the record before it appends.
                        let closes = batch
                            .iter()
                            .any(|other| matches!(other, Change::Put { record, .. } if record.id == id));
                        assert!(!state.closed || closes, "an append after the close");
                        let run = data.concat();
                        let mut frames = frame::frames(&run, record.framing);
                        while let Some(range) = frames.next() {
                            let text = String::from_utf8(run[range].to_vec()).unwrap();
                            let end = at + frames.at() as u64;
                            let again = truth.messages.insert((id, text.clone()), (end, moment));
                            assert!(again.is_none(), "{text:?} is in stream {id} twice");
                            Arc::make_mut(&mut state.content).push_str(&text);
                            truth.contents.entry(id).or_default().insert(end, text);
                        }
                        state.tail = at + run.len() as u64;
                    }
                    Change::Writer { state: writer, .. } => {
                        if let Some(Progress::Producer(producer)) = writer.as_ref().map(|writer| &writer.progress) {
                            state.as_mut().unwrap().next_seq = producer.seq + 1;
                        }
                    }
                }
                timeline.push((moment + 1, state));
            }
        }
        truth
    }

    /// The states of a stream at each moment from `begun` to `ended`.
    fn during(&self, name: &StreamName, begun: usize, ended: usize) -> Vec<Option<State>> {
        let Some(timeline) = self.names.get(name) else {
            return vec![None];
        };
        // Of several changes in one batch only the last counts.
        let mut states: Vec<(usize, Option<State>)> = Vec::new();
        for (moment, state) in timeline {
            states.retain(|(known, _)| known != moment);
            states.push((*moment, state.clone()));
        }
        let current = states.iter().rposition(|(moment, _)| *moment <= begun).unwrap_or(0);
        let rest = states.split_off(current);
        rest.into_iter()
            .enumerate()
            .take_while(|(index, (moment, _))| *index == 0 || *moment <= ended)
            .map(|(_, (_, state))| state)
            .collect()
    }

    /// The content of a stream between two positions.
    pub(super) fn content(&self, id: StreamId, from: Position, to: Position) -> String {
        let messages = self.contents.get(&id).into_iter().flatten();
        let within = messages.filter(|(end, _)| **end > from && **end <= to);
        within.map(|(_, text)| text.as_str()).collect()
    }

    pub(super) fn latest(&self, name: &StreamName) -> Option<State> {
        self.names.get(name)?.last()?.1.clone()
    }
}

/// A request, and the part of the log during which it was under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) server: usize,
    pub(super) stream: StreamName,
    pub(super) begun: usize,
    pub(super) ended: usize,
    pub(super) asked: Asked,
    pub(super) answer: Answer,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    Create,
    Delete,
    Append {
        text: String,
        seq: Option<u64>,
        expected: Option<Offset>,
    },
    Read,
    Metadata,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Created {
        new: bool,
        tail: Offset,
    },
    Differs,
    Deleted,
    Appended {
        tail: Offset,
        duplicate: bool,
    },
    Closed {
        tail: Offset,
    },
    Gap {
        expected: u64,
    },
    UnexpectedTail {
        tail: Offset,
    },
    Content {
        tail: Offset,
        closed: bool,
        content: Option<String>,
    },
    None,
    /// Nothing was done.
    Refused,
    /// It may have been done.
    Unknown,
}

impl Request {
    /// Whether the answer was right at one moment during the request.
    pub(super) fn check(&self, truth: &Truth) {
        let states = truth.during(&self.stream, self.begun, self.ended);
        let at_some_moment = |holds: &dyn Fn(&State) -> bool| states.iter().flatten().any(holds);
        let is_at = |state: &State, tail: &Offset| (state.id, state.tail) == (tail.incarnation, tail.position);
        let is_right = match (&self.asked, &self.answer) {
            (_, Answer::Unknown) => true,
            (Asked::Append { text, .. }, Answer::Refused) => {
                let made = truth.messages.iter().any(|((_, known), (_, moment))| {
                    known == text && (self.begun..self.ended).contains(moment) && text.starts_with('m')
                });
                !made
            }
            (_, Answer::Refused) => true,
            (_, Answer::None) => states.iter().any(Option::is_none),
            (Asked::Create, Answer::Created { new: true, tail }) => {
                let mut pairs = states.windows(2);
                pairs.any(|pair| pair[0].is_none() && pair[1].as_ref().is_some_and(|state| is_at(state, tail)))
            }
            (Asked::Create, Answer::Created { new: false, tail }) => {
                at_some_moment(&|state| !state.closed && is_at(state, tail))
            }
            (Asked::Create, Answer::Differs) => at_some_moment(&|state| state.closed),
            (Asked::Delete, Answer::Deleted) => states.windows(2).any(|pair| pair[0].is_some() && pair[1].is_none()),
            (Asked::Append { text, .. }, Answer::Appended { tail, duplicate: false }) if text.is_empty() => {
                at_some_moment(&|state| state.closed && is_at(state, tail))
            }
            (Asked::Append { text, expected, .. }, Answer::Appended { tail, duplicate: false }) => {
                let made = truth.messages.get(&(tail.incarnation, text.clone()));
                let is_expected =
                    expected.is_none_or(|expected| expected.position + text.len() as u64 + 1 == tail.position);
                is_expected
                    && made
                        .is_some_and(|(end, moment)| *end == tail.position && (self.begun..self.ended).contains(moment))
            }
            (Asked::Append { seq: Some(seq), .. }, Answer::Appended { tail, duplicate: true }) => {
                at_some_moment(&|state| state.next_seq > *seq && is_at(state, tail))
            }
            (Asked::Append { .. }, Answer::Appended { tail, duplicate: true } | Answer::Closed { tail }) => {
                at_some_moment(&|state| state.closed && is_at(state, tail))
            }
            (Asked::Append { .. }, Answer::Gap { expected }) => {
                at_some_moment(&|state| !state.closed && state.next_seq == *expected)
            }
            (
                Asked::Append {
                    expected: Some(expected),
                    ..
                },
                Answer::UnexpectedTail { tail },
            ) => tail != expected && at_some_moment(&|state| !state.closed && is_at(state, tail)),
            (
                Asked::Read,
                Answer::Content {
                    tail,
                    closed,
                    content: Some(content),
                },
            ) => at_some_moment(&|state| is_at(state, tail) && state.closed == *closed && *state.content == *content),
            (Asked::Metadata, Answer::Content { tail, closed, .. }) => {
                at_some_moment(&|state| is_at(state, tail) && state.closed == *closed)
            }
            _ => false,
        };
        assert!(is_right, "{self:?}\nwas wrong at every moment of\n{states:#?}");
    }
}

/// A log in which a stream of that id gets one message, and what a request was told meanwhile.
fn judged(answer: Answer, asked: Asked, begun: usize, ended: usize) -> std::thread::Result<()> {
    let record = StreamRecord {
        framing: crate::protocol::Framing::NEW,
        ..crate::storage::contract::record(7)
    };
    let put = Change::Put {
        name: name("s"),
        record,
    };
    let append = |at, text: &'static [u8]| Change::Append {
        id: 7,
        at,
        data: vec![Bytes::from_static(text)],
    };
    let truth = Truth::of(&[vec![put], vec![append(0, b"\x03m1;")], vec![append(4, b"\x03m2;")]]);
    let request = Request {
        server: 0,
        stream: name("s"),
        begun,
        ended,
        asked,
        answer,
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| request.check(&truth)))
}

#[test]
fn the_checker_knows_wrong_answers() {
    let tail = |position| Offset {
        incarnation: 7,
        position,
    };
    let content = |position, text: &str| Answer::Content {
        tail: tail(position),
        closed: false,
        content: Some(text.into()),
    };
    let appended = |position| Answer::Appended {
        tail: tail(position),
        duplicate: false,
    };
    let append = |text: &str| Asked::Append {
        text: text.into(),
        seq: None,
        expected: None,
    };
    let is_right = |answer, asked, begun, ended| judged(answer, asked, begun, ended).is_ok();
    assert!(is_right(content(4, "m1;"), Asked::Read, 2, 3));
    // Older than what was acknowledged, newer than what was there, and without a part.
    assert!(!is_right(content(4, "m1;"), Asked::Read, 3, 3));
    assert!(!is_right(content(8, "m1;m2;"), Asked::Read, 1, 2));
    assert!(!is_right(content(8, "m2;"), Asked::Read, 3, 3));
    assert!(!is_right(Answer::None, Asked::Read, 1, 3));
    assert!(is_right(Answer::None, Asked::Read, 0, 3));
    assert!(is_right(appended(4), append("m1;"), 1, 2));
    // At another offset, before or after the request, or not at all.
    assert!(!is_right(appended(8), append("m1;"), 1, 2));
    assert!(!is_right(appended(4), append("m1;"), 2, 3));
    assert!(!is_right(appended(12), append("m3;"), 1, 3));
    assert!(!is_right(Answer::Refused, append("m1;"), 1, 2));
    assert!(!is_right(Answer::Closed { tail: tail(8) }, append("m3;"), 3, 3));
}
