//! What clients asked and what they were answered, with times. The checker judges it.

use std::fmt;

/// Nanoseconds since the beginning of the run.
pub type Nanos = u64;

/// The end of an operation without an answer.
pub const NEVER: Nanos = Nanos::MAX;

/// A message: who sent it, and its number among the sender's messages. No two are equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    pub client: u16,
    pub number: u32,
}

/// A position in one life of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset {
    pub life: u64,
    pub position: u64,
}

impl Offset {
    pub fn parse(text: &str) -> Option<Self> {
        let (life, position) = text.split_once('_')?;
        Some(Self {
            life: life.parse().ok()?,
            position: position.parse::<u64>().ok()? / 10,
        })
    }
}

/// The headers of an idempotent producer. The producer's id is the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub epoch: u64,
    pub seq: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    CatchUp,
    LongPoll,
    /// One control event and the data before it.
    Sse,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Create {
        closed: bool,
    },
    Append {
        messages: Vec<Message>,
        stamp: Option<Stamp>,
        /// `Stream-Expected-Offset`.
        expected: Option<Offset>,
        close: bool,
    },
    Close,
    Delete,
    Head,
    /// `None`: from the start.
    Read {
        from: Option<Offset>,
        mode: Mode,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// None, or one that leaves the outcome open.
    Unknown,
    Created {
        tail: Offset,
        closed: bool,
    },
    /// The stream exists: the answer to a `HEAD`, to a repeated creation, and to a close.
    State {
        tail: Offset,
        closed: bool,
    },
    /// `duplicate`: the producer's append was already there.
    Appended {
        tail: Offset,
        closed: bool,
        duplicate: bool,
    },
    Deleted,
    Content {
        messages: Vec<Message>,
        next: Offset,
        up_to_date: bool,
        closed: bool,
    },
    Absent,
    /// The offset belongs to another life of the name.
    OtherLife,
    Closed {
        tail: Offset,
    },
    UnexpectedTail {
        tail: Offset,
    },
    /// Requests of the producer are missing.
    Gap {
        expected: u64,
    },
    /// A later epoch of the producer is known.
    StaleEpoch {
        epoch: u64,
    },
    /// Refused for another reason that leaves the stream as it was.
    Refused(u16),
}

impl Answer {
    /// True if an append with this answer left nothing behind.
    pub fn refuses(&self) -> bool {
        !matches!(
            self,
            Self::Unknown | Self::Created { .. } | Self::State { .. } | Self::Appended { .. }
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    pub client: u16,
    pub server: u16,
    pub name: String,
    pub begin: Nanos,
    pub end: Nanos,
    pub call: Call,
    pub answer: Answer,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}-{}", self.client, self.number)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.life, self.position)
    }
}

/// One line for a report.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |nanos: Nanos| nanos as f64 / 1e6;
        write!(f, "[{:.3} ms, ", millis(self.begin))?;
        match self.end {
            NEVER => write!(f, "unanswered]")?,
            end => write!(f, "{:.3} ms]", millis(end))?,
        }
        write!(f, " client {} at server {}: ", self.client, self.server)?;
        write!(f, "{} {:?} -> ", self.name, Short(&self.call))?;
        match &self.answer {
            Answer::Content {
                messages,
                next,
                up_to_date,
                closed,
            } => write!(
                f,
                "{} up to {next:?}{}{}",
                listed(messages),
                if *up_to_date { ", up to date" } else { "" },
                if *closed { ", closed" } else { "" }
            ),
            answer => write!(f, "{answer:?}"),
        }
    }
}

/// A call without what is absent.
struct Short<'c>(&'c Call);

impl fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Call::Append {
                messages,
                stamp,
                expected,
                close,
            } => {
                write!(f, "append {}", listed(messages))?;
                if let Some(stamp) = stamp {
                    write!(f, " epoch {} seq {}", stamp.epoch, stamp.seq)?;
                }
                if let Some(expected) = expected {
                    write!(f, " at {expected:?}")?;
                }
                f.write_str(if *close { " and close" } else { "" })
            }
            Call::Read { from, mode } => match from {
                Some(from) => write!(f, "read ({mode:?}) from {from:?}"),
                None => write!(f, "read ({mode:?}) from the start"),
            },
            call => write!(f, "{call:?}"),
        }
    }
}

/// All of a short list, the ends of a long one.
fn listed(messages: &[Message]) -> String {
    match messages {
        [first, second, .., last] if messages.len() > 12 => {
            format!("[{first:?}, {second:?}, …, {last:?}] ({})", messages.len())
        }
        _ => format!("{messages:?}"),
    }
}
