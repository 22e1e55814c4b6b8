//! A client that does everything, at random: half of its requests are appends.

use std::{collections::HashMap, thread, time::Duration};

use super::{
    caller::{Caller, Name, World},
    history::{Answer, Call, Message, Mode, Offset, Op, Stamp},
};

/// A request that takes longer counts as unanswered. A stopped server answers later than that.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Attempts of a producer's append before the producer begins a new epoch.
const ATTEMPTS: usize = 40;

/// What a client knows of a stream.
#[derive(Default)]
struct Known {
    /// Offsets that an answer named.
    offsets: Vec<Offset>,
    epoch: u64,
    seq: u64,
    /// A producer's append without an answer, to be repeated.
    pending: Option<(Call, usize)>,
}

pub struct Client<'w> {
    caller: Caller<'w>,
    next: u32,
    known: HashMap<String, Known>,
}

impl<'w> Client<'w> {
    pub fn new(world: &'w World, number: u16, seed: u64) -> Self {
        Self {
            caller: Caller::new(world, number, seed),
            next: 0,
            known: HashMap::new(),
        }
    }

    /// Works until all are done; returns its part of the history.
    pub fn run(mut self) -> Vec<Op> {
        while !self.caller.world.is_done() {
            let names = &self.caller.world.names;
            let name = self.caller.rng.pick(names).unwrap().clone();
            self.act(&name);
            thread::sleep(Duration::from_micros(self.caller.rng.below(2_000)));
        }
        self.caller.ops
    }

    fn act(&mut self, name: &Name) {
        let call = self.choose(name);
        let stamped = matches!(call, Call::Append { stamp: Some(_), .. });
        let patience = self.patience();
        let Some(answer) = self.caller.ask(name, call.clone(), patience) else {
            // The server is away: the same request goes to another one.
            if stamped {
                self.known(name).pending.get_or_insert((call, 0));
            }
            return;
        };
        self.learn(name, &call, &answer);
    }

    fn known(&mut self, name: &Name) -> &mut Known {
        self.known.entry(name.path.clone()).or_default()
    }

    /// Sometimes too little for any answer.
    fn patience(&mut self) -> Duration {
        if self.caller.rng.one_in(60) {
            Duration::from_micros(200 + self.caller.rng.below(3_000))
        } else {
            PATIENCE
        }
    }

    fn choose(&mut self, name: &Name) -> Call {
        if let Some((call, _)) = &self.known(name).pending {
            return call.clone();
        }
        let read = |client: &mut Self, mode| Call::Read {
            from: client.somewhere(name),
            mode,
        };
        match self.caller.rng.below(if name.churns { 110 } else { 100 }) {
            0..50 => self.append(name),
            50..68 => read(self, Mode::CatchUp),
            68..76 => read(self, Mode::LongPoll),
            76..90 => Call::Head,
            90..100 => Call::Create { closed: false },
            100..103 => Call::Close,
            103..107 => Call::Delete,
            _ => Call::Create {
                closed: self.caller.rng.one_in(4),
            },
        }
    }

    fn append(&mut self, name: &Name) -> Call {
        let messages = 1 + if self.caller.rng.one_in(5) {
            self.caller.rng.below(4)
        } else {
            0
        };
        let messages = (0..messages).map(|_| self.message()).collect();
        let produces = self.caller.rng.one_in(2);
        let conditional = self.caller.rng.one_in(12);
        let close = name.churns && self.caller.rng.one_in(60);
        let known = self.known(name);
        Call::Append {
            messages,
            stamp: produces.then_some(Stamp {
                epoch: known.epoch,
                seq: known.seq,
            }),
            expected: if conditional && !produces {
                known.offsets.last().copied()
            } else {
                None
            },
            close,
        }
    }

    fn message(&mut self) -> Message {
        self.next += 1;
        Message {
            client: self.caller.number,
            number: self.next,
        }
    }

    /// Mostly a recent offset, sometimes any, seldom the start.
    fn somewhere(&mut self, name: &Name) -> Option<Offset> {
        let choice = self.caller.rng.below(20);
        let back = usize::try_from(self.caller.rng.below(1_000)).unwrap();
        let offsets = &self.known(name).offsets;
        match choice {
            0 => None,
            1..4 => offsets.get(back % offsets.len().max(1)).copied(),
            _ => offsets.last().copied(),
        }
    }

    fn learn(&mut self, name: &Name, call: &Call, answer: &Answer) {
        let known = self.known.entry(name.path.clone()).or_default();
        if let Some(offset) = named(answer) {
            known.offsets.push(offset);
        }
        let Call::Append { stamp: Some(stamp), .. } = call else {
            return;
        };
        match answer {
            Answer::Unknown => {
                let attempts = known.pending.take().map_or(1, |(_, attempts)| attempts + 1);
                if attempts < ATTEMPTS {
                    known.pending = Some((call.clone(), attempts));
                } else {
                    (known.epoch, known.seq) = (stamp.epoch + 1, 0);
                }
                return;
            }
            Answer::Appended { .. } => known.seq = stamp.seq + 1,
            Answer::StaleEpoch { epoch } => (known.epoch, known.seq) = (epoch + 1, 0),
            // The stream is another one, or closed.
            _ => (known.epoch, known.seq) = (stamp.epoch + 1, 0),
        }
        known.pending = None;
    }
}

/// The offset that an answer names.
pub fn named(answer: &Answer) -> Option<Offset> {
    match answer {
        Answer::Created { tail, .. }
        | Answer::State { tail, .. }
        | Answer::Appended { tail, .. }
        | Answer::Closed { tail }
        | Answer::UnexpectedTail { tail } => Some(*tail),
        Answer::Content { next, .. } => Some(*next),
        _ => None,
    }
}
