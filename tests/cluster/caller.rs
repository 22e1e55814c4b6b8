//! One client's requests: each to a random server, timed, and with the answer in the words of the
//! history.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    fleet::Fleet,
    history::{Answer, Call, Mode, NEVER, Nanos, Offset, Op},
    messages::Form,
    support::{
        http::{self, Connection, Request, escape},
        rng::TestRng,
        server::BASE,
    },
};

/// A stream that clients use.
#[derive(Debug, Clone)]
pub struct Name {
    pub path: String,
    pub form: Form,
    /// Clients close, delete and create it again.
    pub churns: bool,
}

/// What all clients share.
pub struct World {
    pub fleet: Fleet,
    pub names: Vec<Name>,
    begin: Instant,
    pub done: AtomicBool,
    /// What cannot be written as a history: garbled content, unexpected answers.
    pub strange: Mutex<Vec<String>>,
}

impl World {
    pub fn new(fleet: Fleet, names: Vec<Name>) -> Self {
        Self {
            fleet,
            names,
            begin: Instant::now(),
            done: AtomicBool::new(false),
            strange: Mutex::default(),
        }
    }

    pub fn now(&self) -> Nanos {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(NEVER - 1)
    }

    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    pub fn report(&self, what: String) {
        self.strange.lock().unwrap().push(what);
    }

    /// A server that is not known to be away.
    pub fn pick(&self, rng: &mut TestRng) -> Option<(usize, SocketAddr)> {
        let place = usize::try_from(rng.below(self.fleet.len() as u64)).unwrap();
        Some((place, self.fleet.address(place)?))
    }
}

pub struct Caller<'w> {
    pub world: &'w World,
    pub number: u16,
    pub rng: TestRng,
    pub ops: Vec<Op>,
    connections: HashMap<SocketAddr, Connection>,
}

impl<'w> Caller<'w> {
    pub fn new(world: &'w World, number: u16, seed: u64) -> Self {
        Self {
            world,
            number,
            rng: TestRng::new(seed.wrapping_add(u64::from(number) * 0x9e37_79b9)),
            ops: Vec::new(),
            connections: HashMap::new(),
        }
    }

    /// Asks a random server. `None`: it is away, and has not got the request.
    pub fn ask(&mut self, name: &Name, call: Call, patience: Duration) -> Option<Answer> {
        let (place, to) = self.world.pick(&mut self.rng)?;
        self.ask_at(place, to, name, call, patience)
    }

    /// Asks this server.
    pub fn ask_at(
        &mut self,
        place: usize,
        to: SocketAddr,
        name: &Name,
        call: Call,
        patience: Duration,
    ) -> Option<Answer> {
        let mut connection = match self.connections.remove(&to) {
            Some(connection) => connection,
            None => Connection::try_open(to, None).ok()?,
        };
        let stream = connection.stream.get_ref();
        stream.set_read_timeout(Some(patience)).ok()?;
        let begin = self.world.now();
        let answer = request(self.number, to, name, &call).send_on(&mut connection);
        let end = self.world.now();
        let told = match &answer {
            Ok(answer) => told(answer, name, &call).unwrap_or_else(|what| {
                self.world.report(format!("{} {call:?}: {what}", name.path));
                Answer::Unknown
            }),
            Err(_) => Answer::Unknown,
        };
        if answer.is_ok_and(|answer| answer.header("connection") != Some("close")) {
            self.connections.insert(to, connection);
        }
        self.ops.push(Op {
            client: self.number,
            server: u16::try_from(place).unwrap(),
            name: name.path.clone(),
            begin,
            end: if told == Answer::Unknown { NEVER } else { end },
            call,
            answer: told.clone(),
        });
        Some(told)
    }
}

pub fn offset_text(offset: Option<Offset>) -> String {
    match offset {
        None => "-1".to_owned(),
        Some(Offset { life, position }) => format!("{life:016}_{:016}", position * 10),
    }
}

fn request(client: u16, to: SocketAddr, name: &Name, call: &Call) -> Request {
    let path = format!("{BASE}/{}", name.path);
    let new = |method: &str| Request::new(to, method, &path);
    match call {
        Call::Create { closed } => {
            let create = new("PUT").header("content-type", name.form.content_type());
            if *closed {
                create.header("stream-closed", "true")
            } else {
                create
            }
        }
        Call::Append {
            messages,
            stamp,
            expected,
            close,
        } => {
            let mut append = new("POST")
                .header("content-type", name.form.content_type())
                .body(name.form.body(messages));
            if let Some(stamp) = stamp {
                append = append.producer(&format!("p{client}"), stamp.epoch, stamp.seq);
            }
            if expected.is_some() {
                append = append.header("stream-expected-offset", &offset_text(*expected));
            }
            if *close {
                append = append.header("stream-closed", "true");
            }
            append
        }
        Call::Close => new("POST").header("stream-closed", "true"),
        Call::Delete => new("DELETE"),
        Call::Head => new("HEAD"),
        Call::Read { from, mode } => {
            let live = match mode {
                Mode::CatchUp => "",
                Mode::LongPoll => "&live=long-poll",
                Mode::Sse => "&live=sse",
            };
            Request::new(
                to,
                "GET",
                &format!("{path}?offset={}{live}", escape(&offset_text(*from))),
            )
        }
    }
}

/// The answer in the words of the history, or what is wrong with it.
fn told(answer: &http::Answer, name: &Name, call: &Call) -> Result<Answer, String> {
    let tail = || {
        let tail = answer.header("stream-next-offset").and_then(Offset::parse);
        tail.ok_or_else(|| format!("no offset: {} {:?}", answer.status, answer.headers))
    };
    let closed = answer.header("stream-closed") == Some("true");
    let state = |tail| Answer::State { tail, closed };
    match (call, answer.status) {
        (_, 500..) => Ok(Answer::Unknown),
        (Call::Create { .. }, 201) => Ok(Answer::Created { tail: tail()?, closed }),
        (Call::Create { .. } | Call::Head, 200) | (Call::Close, 204) => Ok(state(tail()?)),
        (Call::Append { stamp, .. }, 200 | 204) => Ok(Answer::Appended {
            tail: tail()?,
            closed,
            duplicate: stamp.is_some() && answer.status == 204,
        }),
        (Call::Delete, 204) => Ok(Answer::Deleted),
        (Call::Read { .. }, 200) => Ok(Answer::Content {
            messages: name.form.messages(&answer.body)?,
            next: tail()?,
            up_to_date: answer.header("stream-up-to-date").is_some(),
            closed,
        }),
        (Call::Read { .. }, 204) => Ok(Answer::Content {
            messages: Vec::new(),
            next: tail()?,
            up_to_date: true,
            closed,
        }),
        (_, status) => refusal(answer, status, tail),
    }
}

fn refusal(answer: &http::Answer, status: u16, tail: impl Fn() -> Result<Offset, String>) -> Result<Answer, String> {
    let number = |name: &str| {
        let number = answer.header(name).and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("no {name}: {:?}", answer.headers))
    };
    let kind = match answer.header("content-type") {
        Some("application/problem+json") if !answer.body.is_empty() => {
            answer.json()["type"].as_str().unwrap_or_default().to_owned()
        }
        // A HEAD has no body.
        _ => String::new(),
    };
    match kind.strip_prefix("urn:durable-streams:problem:").unwrap_or_default() {
        "not-found" => Ok(Answer::Absent),
        "other-life" => Ok(Answer::OtherLife),
        "closed" => Ok(Answer::Closed { tail: tail()? }),
        "unexpected-tail" => Ok(Answer::UnexpectedTail { tail: tail()? }),
        "producer-gap" => Ok(Answer::Gap {
            expected: number("producer-expected-seq")?,
        }),
        "stale-epoch" => Ok(Answer::StaleEpoch {
            epoch: number("producer-epoch")?,
        }),
        "exists" | "epoch-start" => Ok(Answer::Refused(status)),
        "" if status == 404 => Ok(Answer::Absent),
        other => Err(format!("an unexpected answer: {status} {other} {}", answer.text())),
    }
}
