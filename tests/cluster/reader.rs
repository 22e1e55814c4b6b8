//! A live reader: follows a stream by SSE, and reconnects to any server with the last offset.

use std::{
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    caller::{Caller, Name, World, offset_text},
    history::{Answer, Call, Message, Mode, Nanos, Offset, Op},
    messages::Form,
    support::{
        TIMEOUT,
        http::{Connection, Request, escape},
        live::{Event, Sse},
        server::BASE,
    },
};

/// Servers send a heartbeat each second. One that sends nothing for longer is left.
const SILENCE: Duration = Duration::from_millis(2_500);

pub struct Reader<'w> {
    caller: Caller<'w>,
    name: &'w Name,
    from: Option<Offset>,
}

/// How a session ended.
enum End {
    /// The stream was closed.
    Closed,
    /// The name has no stream, or another one.
    Elsewhere,
    /// The connection is gone, or silent.
    Lost,
}

/// Data without a control event yet.
struct Session {
    pending: Pending,
    begin: Nanos,
    server: u16,
    first: bool,
}

#[derive(Default)]
struct Pending {
    messages: Vec<Message>,
    bytes: Vec<u8>,
}

impl<'w> Reader<'w> {
    pub fn new(world: &'w World, number: u16, seed: u64, name: &'w Name) -> Self {
        Self {
            caller: Caller::new(world, number, seed),
            name,
            from: None,
        }
    }

    /// Reads until the stream is closed; a stream that churns is followed until all are done.
    pub fn run(mut self) -> Vec<Op> {
        let mut done_at = None;
        loop {
            if self.caller.world.is_done() {
                if self.name.churns {
                    break;
                }
                let since = *done_at.get_or_insert_with(Instant::now);
                if since.elapsed() > TIMEOUT {
                    self.caller.world.report(format!(
                        "a live reader of {} has not seen the close; it is at {}",
                        self.name.path,
                        offset_text(self.from)
                    ));
                    break;
                }
            }
            match self.session() {
                End::Closed if !self.name.churns => break,
                // The next life is read from its start.
                End::Closed | End::Elsewhere => {
                    self.from = None;
                    thread::sleep(Duration::from_millis(5));
                }
                End::Lost => thread::sleep(Duration::from_millis(2)),
            }
        }
        self.caller.ops
    }

    fn session(&mut self) -> End {
        let Some((place, to)) = self.caller.world.pick(&mut self.caller.rng) else {
            return End::Lost;
        };
        let begin = self.caller.world.now();
        let Some(mut sse) = self.connect(to) else {
            return End::Lost;
        };
        match sse.answer.status {
            200 => {}
            404 | 410 => {
                self.gone(begin, place, sse.answer.status);
                return End::Elsewhere;
            }
            status if status >= 500 => return End::Lost,
            status => {
                self.caller.world.report(format!("a live read was answered {status}"));
                return End::Lost;
            }
        }
        let mut session = Session {
            pending: Pending::default(),
            begin,
            server: u16::try_from(place).unwrap(),
            first: true,
        };
        loop {
            if self.name.churns && self.caller.world.is_done() {
                return End::Lost;
            }
            match sse.try_next() {
                Ok(Some(Event::Data(data))) => {
                    let read = session.pending.take_in(self.name.form, &data);
                    if let Err(what) = read {
                        self.caller.world.report(format!("{} by SSE: {what}", self.name.path));
                        return End::Lost;
                    }
                }
                Ok(Some(Event::Control(control))) => {
                    if self.control(&mut session, &control) {
                        return End::Closed;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return End::Lost,
            }
        }
    }

    fn connect(&self, to: std::net::SocketAddr) -> Option<Sse> {
        let offset = escape(&offset_text(self.from));
        let path = format!("{BASE}/{}?offset={offset}&live=sse", self.name.path);
        let mut connection = Connection::try_open(to, None).ok()?;
        connection.stream.get_ref().set_read_timeout(Some(SILENCE)).ok()?;
        Request::new(to, "GET", &path).open_on(&mut connection).ok()?;
        let answer = connection.head().ok()??;
        Some(Sse::on(connection, answer))
    }

    fn gone(&mut self, begin: Nanos, place: usize, status: u16) {
        let end = self.caller.world.now();
        let answer = if status == 404 {
            Answer::Absent
        } else {
            Answer::OtherLife
        };
        self.record(begin, end, u16::try_from(place).unwrap(), answer);
    }

    fn record(&mut self, begin: Nanos, end: Nanos, server: u16, answer: Answer) {
        let from = self.from;
        self.caller.ops.push(Op {
            client: self.caller.number,
            server,
            name: self.name.path.clone(),
            begin,
            end,
            call: Call::Read { from, mode: Mode::Sse },
            answer,
        });
    }

    /// Records what came before a control event. True if the stream is closed.
    fn control(&mut self, session: &mut Session, control: &Value) -> bool {
        let end = self.caller.world.now();
        let Some(next) = control["streamNextOffset"].as_str().and_then(Offset::parse) else {
            self.caller
                .world
                .report(format!("a control event without an offset: {control}"));
            return false;
        };
        let closed = control["streamClosed"] == true;
        let Some(messages) = session.pending.complete(self.name.form) else {
            return false;
        };
        let answer = Answer::Content {
            messages,
            next,
            // Later events may be late.
            up_to_date: std::mem::take(&mut session.first) && control["upToDate"] == true,
            closed,
        };
        self.record(session.begin, end, session.server, answer);
        self.from = Some(next);
        closed
    }
}

impl Pending {
    fn take_in(&mut self, form: Form, data: &str) -> Result<(), String> {
        match form {
            Form::Json => self.messages.extend(form.messages(data.as_bytes())?),
            Form::Bytes => {
                let lines: String = data.split_whitespace().collect();
                let bytes = STANDARD.decode(lines).map_err(|error| error.to_string())?;
                self.bytes.extend(bytes);
            }
        }
        Ok(())
    }

    /// What has come, unless it ends within a message.
    fn complete(&mut self, form: Form) -> Option<Vec<Message>> {
        if form == Form::Bytes {
            self.messages = form.messages(&self.bytes).ok()?;
            self.bytes.clear();
        }
        Some(std::mem::take(&mut self.messages))
    }
}
