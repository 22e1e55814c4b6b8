//! An SSE client.

use std::io;

use serde_json::Value;

use super::http::{Answer, Connection, Request};

/// An event or a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Data(String),
    Control(Value),
    Retry(u64),
    Comment,
}

#[derive(Debug)]
pub struct Sse {
    pub answer: Answer,
    pub connection: Connection,
    pending: String,
}

impl Sse {
    #[track_caller]
    pub fn open(request: &Request) -> Self {
        let mut connection = request.open();
        let answer = connection.head().unwrap().unwrap();
        let mut sse = Self::on(connection, answer);
        if sse.answer.status != 200 {
            panic!("{:?} {}", sse.answer, sse.connection.rest());
        }
        sse
    }

    /// The rest of a response whose head was read.
    pub fn on(connection: Connection, answer: Answer) -> Self {
        Self {
            answer,
            connection,
            pending: String::new(),
        }
    }

    /// The next event; `None` at the end of the response.
    pub fn try_next(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some((block, rest)) = self.pending.split_once("\n\n") {
                let event = parse(block);
                self.pending = rest.to_owned();
                return Ok(Some(event));
            }
            let Some(chunk) = self.connection.chunk()? else {
                return Ok(None);
            };
            self.pending.push_str(&String::from_utf8(chunk).unwrap());
        }
    }

    #[track_caller]
    pub fn next(&mut self) -> Option<Event> {
        self.try_next().unwrap()
    }

    /// The next data event.
    #[track_caller]
    pub fn data(&mut self) -> String {
        loop {
            match self.next() {
                Some(Event::Data(data)) => return data,
                Some(_) => {}
                None => panic!("the response ended"),
            }
        }
    }

    /// The next control event.
    #[track_caller]
    pub fn control(&mut self) -> Value {
        loop {
            match self.next() {
                Some(Event::Control(control)) => return control,
                Some(_) => {}
                None => panic!("the response ended"),
            }
        }
    }

    /// All data until the response ends.
    pub fn remainder(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next() {
            events.push(event);
        }
        events
    }
}

fn parse(block: &str) -> Event {
    let (mut name, mut data) = ("", Vec::new());
    for line in block.lines() {
        match line.split_once(':') {
            Some(("event", value)) => name = value.trim(),
            Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
            Some(("retry", value)) => return Event::Retry(value.trim().parse().unwrap()),
            Some(("", _)) => return Event::Comment,
            _ => panic!("no field: {line:?}"),
        }
    }
    let data = data.join("\n");
    match name {
        "data" => Event::Data(data),
        "control" => Event::Control(serde_json::from_str(&data).unwrap()),
        other => panic!("no such event: {other:?}"),
    }
}
