//! Streams that all writers append to, and the checks of their content.

use std::{collections::HashMap, io};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    Server, read_all,
    support::http::{Answer, Connection, Request},
    support::rng::TestRng,
};

/// Names and content types.
pub const STREAMS: [(&str, &str); 4] = [
    ("json", "application/json"),
    ("lines", "text/plain"),
    ("bytes", "application/octet-stream"),
    ("quiet", "application/json"),
];

#[track_caller]
pub fn create(server: &Server) {
    for (name, content_type) in STREAMS {
        server.put(name).header("content-type", content_type).send().expect(201);
    }
}

/// One message. It identifies itself, so it can be checked wherever it is found.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Message {
    writer: usize,
    producer: bool,
    epoch: u64,
    number: u64,
    /// Its index in its append, and the append's length.
    place: usize,
    of: usize,
    padding: String,
}

/// One append.
#[derive(Debug, Clone, PartialEq)]
struct Append {
    epoch: u64,
    number: u64,
    of: usize,
    size: usize,
}

/// One writer's appends to one stream, as an idempotent producer or without.
#[derive(Debug, Clone)]
pub struct Line {
    writer: usize,
    stream: usize,
    producer: bool,
    acknowledged: Vec<Append>,
    /// Sent but not answered: may be stored or not.
    unanswered: Option<Append>,
    next: (u64, u64),
}

impl Line {
    pub fn all(writer: usize) -> Vec<Self> {
        let line = |stream, producer| Self {
            writer,
            stream,
            producer,
            acknowledged: Vec::new(),
            unanswered: None,
            next: (0, 0),
        };
        (0..STREAMS.len())
            .flat_map(|stream| [line(stream, true), line(stream, false)])
            .collect()
    }

    /// Makes a random append. An error is a lost connection.
    pub fn append(&mut self, server: &Server, connection: &mut Connection, rng: &mut TestRng) -> io::Result<()> {
        if self.producer && self.next.1 > 0 && rng.one_in(60) {
            self.next = (self.next.0 + 1, 0);
        }
        let append = Append {
            epoch: self.next.0,
            number: self.next.1,
            of: 1 + usize::try_from(rng.below(4)).unwrap(),
            size: rng.size(),
        };
        self.next.1 += 1;
        let request = self.request(server, &append);
        self.unanswered = Some(append);
        let answer = request.send_on(connection)?;
        assert_eq!(answer.status, if self.producer { 200 } else { 204 }, "{answer:?}");
        self.acknowledged.extend(self.unanswered.take());
        Ok(())
    }

    fn request(&self, server: &Server, append: &Append) -> Request {
        let (name, content_type) = STREAMS[self.stream];
        let messages: Vec<_> = (0..append.of).map(|place| self.message(append, place)).collect();
        let body = match content_type {
            "application/json" => format!("[{}]", messages.join(",")),
            _ => messages.join("\n") + "\n",
        };
        let request = server.post(name).header("content-type", content_type).body(body);
        if self.producer {
            request.producer(&format!("writer-{}", self.writer), append.epoch, append.number)
        } else {
            request
        }
    }

    fn message(&self, append: &Append, place: usize) -> String {
        let letter = char::from(b'a' + u8::try_from(append.number % 26).unwrap());
        let message = Message {
            writer: self.writer,
            producer: self.producer,
            epoch: append.epoch,
            number: append.number,
            place,
            of: append.of,
            padding: letter.to_string().repeat(append.size / append.of),
        };
        serde_json::to_string(&message).unwrap()
    }

    /// Adopts the stored content if it is a possible outcome.
    fn settle(&mut self, found: &[String]) {
        let expected = |appends: &[Append]| -> Vec<String> {
            let messages = |append: &Append| {
                let all = (0..append.of).map(|place| self.message(append, place));
                all.collect::<Vec<_>>()
            };
            appends.iter().flat_map(messages).collect()
        };
        let mut with_unanswered = self.acknowledged.clone();
        with_unanswered.extend(self.unanswered.clone());
        if self.unanswered.is_some() && same(found, &expected(&with_unanswered)) {
            self.acknowledged = with_unanswered;
            self.unanswered = None;
            return;
        }
        if let Some(different) = difference(found, &expected(&self.acknowledged)) {
            panic!(
                "writer {} on {} (producer: {}), {} appends acknowledged, {:?} not answered: {different}",
                self.writer,
                STREAMS[self.stream].0,
                self.producer,
                self.acknowledged.len(),
                self.unanswered
            );
        }
    }

    /// Repeats the last request: it is a duplicate exactly if it was stored.
    pub fn retry(&mut self, server: &Server) {
        let unanswered = self.unanswered.take();
        if !self.producer {
            return;
        }
        let (append, status) = match (unanswered, self.acknowledged.last()) {
            (Some(lost), _) => (lost, 200),
            (None, Some(last)) => (last.clone(), 204),
            (None, None) => return,
        };
        let answer = self.request(server, &append).send().expect(status);
        check_producer(&answer, &append);
        if status == 200 {
            self.acknowledged.push(append.clone());
        }
        self.request(server, &append).send().expect(204);
        if let Some(before) = append.epoch.checked_sub(1) {
            let stale = Append {
                epoch: before,
                ..append
            };
            self.request(server, &stale).send().expect(403);
        }
    }
}

fn check_producer(answer: &Answer, append: &Append) {
    let said = |name| answer.header(name).map(|text| text.parse::<u64>().unwrap());
    assert_eq!(said("producer-epoch"), Some(append.epoch), "{answer:?}");
    assert_eq!(said("producer-seq"), Some(append.number), "{answer:?}");
}

fn same(found: &[String], expected: &[String]) -> bool {
    difference(found, expected).is_none()
}

/// A short description of where two lists differ.
fn difference(found: &[String], expected: &[String]) -> Option<String> {
    let short = |text: Option<&String>| text.map(|text| text.chars().take(100).collect::<String>());
    let at = (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at))?;
    Some(format!(
        "message {at} is {:?}, not {:?} (of {}, not {})",
        short(found.get(at)),
        short(expected.get(at)),
        found.len(),
        expected.len()
    ))
}

/// Checks every stream: each line's messages are there, complete, once and in order.
pub fn verify<'l>(server: &Server, lines: impl Iterator<Item = &'l mut Line>) {
    let mut found: Vec<HashMap<(usize, bool), Vec<String>>> =
        STREAMS.iter().map(|stream| by_writer(server, *stream)).collect();
    for line in lines {
        let messages = found[line.stream]
            .remove(&(line.writer, line.producer))
            .unwrap_or_default();
        line.settle(&messages);
    }
    assert!(found.iter().all(HashMap::is_empty), "messages of nobody");
}

/// A stream's messages by writer.
fn by_writer(server: &Server, (name, content_type): (&str, &str)) -> HashMap<(usize, bool), Vec<String>> {
    let (content, _) = read_all(server, name);
    let messages: Vec<String> = if content_type == "application/json" {
        let array = [b"[".as_slice(), &content, b"]"].concat();
        let messages: Vec<&RawValue> = serde_json::from_slice(&array).unwrap();
        messages.into_iter().map(|message| message.get().to_owned()).collect()
    } else {
        let text = String::from_utf8(content).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{name} ends within a line");
        text.lines().map(str::to_owned).collect()
    };
    let mut sorted: HashMap<_, Vec<String>> = HashMap::new();
    let mut open: Option<Message> = None;
    for text in messages {
        let message: Message =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text:.100}"));
        // An append is contiguous.
        let begins = match &open {
            Some(before) if before.place + 1 < before.of => {
                assert_eq!(
                    (
                        before.writer,
                        before.producer,
                        before.epoch,
                        before.number,
                        before.place + 1
                    ),
                    (
                        message.writer,
                        message.producer,
                        message.epoch,
                        message.number,
                        message.place
                    ),
                    "{name}: something stands between the messages of an append"
                );
                false
            }
            _ => true,
        };
        assert!(!begins || message.place == 0, "{name}: an append without its beginning");
        sorted.entry((message.writer, message.producer)).or_default().push(text);
        open = Some(message);
    }
    assert!(
        open.is_none_or(|last| last.place + 1 == last.of),
        "{name}: an append without its end"
    );
    sorted
}
