//! Streams with a single writer, and the checks of their state.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    Server, read_all,
    support::http::{Answer, Connection, Request},
    support::rng::TestRng,
};

/// The known state of a stream.
#[derive(Debug, Clone, Default)]
struct Stream {
    name: String,
    content: String,
    closed: bool,
    deleted: bool,
    forked: bool,
    /// Milliseconds since 1970.
    expires_at: Option<u64>,
    /// Issued offsets and the content length before each.
    offsets: Vec<(String, usize)>,
    /// The ETag of a deleted stream of this name.
    earlier: Option<String>,
}

#[derive(Debug, Clone)]
enum Step {
    Create(Stream),
    Append(usize, String),
    Close(usize, String),
    Fork(usize, Stream),
    Delete(usize),
    Recreate(usize, Stream),
}

#[derive(Debug, Default)]
pub struct Owned {
    writer: usize,
    streams: Vec<Stream>,
    unanswered: Option<Step>,
}

pub fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

impl Owned {
    pub fn new(writer: usize) -> Self {
        Self {
            writer,
            ..Self::default()
        }
    }

    /// Performs a random step. An error is a lost connection.
    pub fn act(&mut self, server: &Server, connection: &mut Connection, rng: &mut TestRng) -> io::Result<()> {
        let mut step = self.choose(rng);
        let deleted = match &mut step {
            // Distinguishes a new stream from an earlier one of the name.
            Step::Delete(at) => {
                let answer = server.get(&self.streams[*at].name).send_on(connection)?.expect(200);
                answer.header("etag").map(str::to_owned)
            }
            _ => None,
        };
        let request = self.request(server, &step);
        self.unanswered = Some(step.clone());
        let answer = request.send_on(connection)?;
        let expected = match step {
            Step::Create(_) | Step::Fork(..) | Step::Recreate(..) => 201,
            Step::Append(..) | Step::Close(..) | Step::Delete(_) => 204,
        };
        assert_eq!(answer.status, expected, "{step:?}: {answer:?}");
        self.unanswered = None;
        let at = self.apply(step);
        self.streams[at].note(&answer);
        if deleted.is_some() {
            self.streams[at].earlier = deleted;
        }
        Ok(())
    }

    fn choose(&self, rng: &mut TestRng) -> Step {
        let all = || self.streams.iter().enumerate().rev().take(60);
        let lasting: Vec<usize> = all()
            .filter(|(_, stream)| !stream.deleted && stream.expires_at.is_none())
            .map(|(at, _)| at)
            .collect();
        let open: Vec<usize> = lasting.iter().copied().filter(|at| !self.streams[*at].closed).collect();
        let free: Vec<usize> = all()
            .filter(|(_, stream)| stream.deleted && !stream.forked)
            .map(|(at, _)| at)
            .collect();
        match rng.below(100) {
            0..40 if !open.is_empty() => Step::Append(*rng.pick(&open).unwrap(), self.text(rng)),
            40..48 if !open.is_empty() => {
                let last = if rng.one_in(2) { self.text(rng) } else { String::new() };
                Step::Close(*rng.pick(&open).unwrap(), last)
            }
            48..60 if !lasting.is_empty() => self.fork(*rng.pick(&lasting).unwrap(), rng),
            60..72 if !lasting.is_empty() => Step::Delete(*rng.pick(&lasting).unwrap()),
            72..77 if !free.is_empty() => {
                let at = *rng.pick(&free).unwrap();
                let again = Stream {
                    name: self.streams[at].name.clone(),
                    content: self.text(rng),
                    earlier: self.streams[at].earlier.clone(),
                    ..Stream::default()
                };
                Step::Recreate(at, again)
            }
            _ => Step::Create(Stream {
                name: self.new_name(),
                content: if rng.one_in(3) { String::new() } else { self.text(rng) },
                closed: rng.one_in(12),
                expires_at: rng.one_in(8).then(|| now_millis() + 200 + rng.below(3_000)),
                ..Stream::default()
            }),
        }
    }

    fn new_name(&self) -> String {
        format!("own/{}/{}", self.writer, self.streams.len())
    }

    fn text(&self, rng: &mut TestRng) -> String {
        let word = format!("{}-{};", self.writer, rng.below(1_000_000));
        let times = rng.size() / word.len() + 1;
        word.repeat(times)
    }

    fn fork(&self, source: usize, rng: &mut TestRng) -> Step {
        let source_stream = &self.streams[source];
        let (offset, len) = rng.pick(&source_stream.offsets).unwrap();
        let fork = Stream {
            name: self.new_name(),
            content: source_stream.content[..*len].to_owned(),
            offsets: vec![(offset.clone(), *len)],
            ..Stream::default()
        };
        Step::Fork(source, fork)
    }

    fn request(&self, server: &Server, step: &Step) -> Request {
        let name = |at: &usize| &self.streams[*at].name;
        match step {
            Step::Create(stream) | Step::Recreate(_, stream) => {
                let mut request = server.put(&stream.name).text(&stream.content);
                if stream.closed {
                    request = request.header("stream-closed", "true");
                }
                if let Some(at) = stream.expires_at {
                    request = request.header("stream-expires-at", &timestamp(at));
                }
                request
            }
            Step::Append(at, text) => server.post(name(at)).text(text),
            Step::Close(at, last) if last.is_empty() => server.post(name(at)).header("stream-closed", "true"),
            Step::Close(at, last) => server.post(name(at)).text(last).header("stream-closed", "true"),
            Step::Fork(source, fork) => server
                .fork(&fork.name, name(source))
                .header("stream-fork-offset", &fork.offsets[0].0),
            Step::Delete(at) => server.delete(name(at)),
        }
    }

    /// Records that a step was applied; returns the stream it applies to.
    fn apply(&mut self, step: Step) -> usize {
        match step {
            Step::Create(stream) => self.streams.push(stream),
            Step::Fork(source, fork) => {
                self.streams[source].forked = true;
                self.streams.push(fork);
            }
            Step::Append(at, text) => {
                self.streams[at].content += &text;
                return at;
            }
            Step::Close(at, last) => {
                self.streams[at].content += &last;
                self.streams[at].closed = true;
                return at;
            }
            Step::Delete(at) => {
                self.streams[at].deleted = true;
                return at;
            }
            Step::Recreate(at, stream) => {
                self.streams[at] = stream;
                return at;
            }
        }
        self.streams.len() - 1
    }

    /// Checks every stream: acknowledged steps are applied, and an unanswered one completely or not
    /// at all.
    pub fn verify(&mut self, server: &Server) {
        if let Some(step) = self.unanswered.take() {
            self.settle(server, step);
        }
        for stream in &self.streams {
            if let Err(reason) = stream.check(server) {
                panic!("{reason}; expected {:.300}", format!("{stream:?}"));
            }
        }
    }

    fn settle(&mut self, server: &Server, step: Step) {
        let before = self.streams.clone();
        let at = self.apply(step.clone());
        let with = self.streams[at].check(server);
        let without = before.get(at).map_or_else(
            || match server.get(&self.streams[at].name).send().status {
                404 => Ok(()),
                status => Err(format!("{status} for a stream that was never made")),
            },
            |stream| stream.check(server),
        );
        match (with, without) {
            (Ok(()), _) => self.streams[at].learn(server),
            (Err(_), Ok(())) => self.streams = before,
            (Err(with), Err(without)) => panic!("{:.300} is partially stored: {with}; {without}", format!("{step:?}")),
        }
    }
}

impl Stream {
    /// Keeps the offset of an acknowledged step.
    fn note(&mut self, answer: &Answer) {
        if let Some(offset) = answer.header("stream-next-offset") {
            if let Some((before, _)) = self.offsets.last() {
                assert!(before.as_str() <= offset, "the tail went back");
            }
            self.offsets.push((offset.to_owned(), self.content.len()));
        }
    }

    /// Keeps the offset of a step that was not answered.
    fn learn(&mut self, server: &Server) {
        let answer = server.head(&self.name).send();
        if answer.status == 200 {
            self.note(&answer);
        }
    }

    fn check(&self, server: &Server) -> Result<(), String> {
        let name = &self.name;
        let asked = now_millis();
        let answer = server.get(name).send();
        let gone = self.deleted || self.expires_at.is_some_and(|at| at < asked);
        if gone {
            return match answer.status {
                404 => Ok(()),
                410 if self.forked => Ok(()),
                status => Err(format!("{name} is gone and answers {status}")),
            };
        }
        if let Some(at) = self.expires_at {
            // A stream that may expire at any moment is checked with a single response.
            let there = answer.status == 200 && answer.body == self.content.as_bytes();
            return if there || at <= now_millis() {
                Ok(())
            } else {
                Err(format!("{name} answers {} before its time", answer.status))
            };
        }
        if answer.status != 200 {
            return Err(format!("{name} answers {}", answer.status));
        }
        let (content, tail) = read_all(server, name);
        if content != self.content.as_bytes() {
            return Err(format!(
                "{name} has {} bytes, not {}",
                content.len(),
                self.content.len()
            ));
        }
        let head = server.head(name).send();
        if (head.header("stream-closed") == Some("true")) != self.closed {
            return Err(format!("{name} is closed or not, other than it was"));
        }
        if let Some((offset, len)) = self.offsets.last()
            && *len == content.len()
            && *offset != tail
        {
            return Err(format!("the tail of {name} is {tail}, not {offset}"));
        }
        self.check_reads(server)?;
        self.check_identity(server, &answer)
    }

    /// Readers can resume.
    fn check_reads(&self, server: &Server) -> Result<(), String> {
        let Some((offset, len)) = self.offsets.get(self.offsets.len() / 2) else {
            return Ok(());
        };
        let rest = server.get(&format!("{}?offset={offset}", self.name)).send();
        if !self.content.as_bytes()[*len..].starts_with(&rest.body) {
            return Err(format!("{} reads differently from {offset}", self.name));
        }
        Ok(())
    }

    /// A recreated stream has a later incarnation.
    fn check_identity(&self, server: &Server, answer: &Answer) -> Result<(), String> {
        let Some(earlier) = &self.earlier else { return Ok(()) };
        let fresh = server.get(&self.name).header("if-none-match", earlier).send();
        if fresh.status != 200 {
            return Err(format!("{} is taken for the deleted one", self.name));
        }
        let id = |tag: &str| u64::from_str_radix(tag.split(['-', ':']).nth(1).unwrap(), 16).unwrap();
        let (before, after) = (id(earlier), id(answer.header("etag").unwrap()));
        if before >= after {
            return Err(format!("{} has id {after} after {before}", self.name));
        }
        Ok(())
    }
}

pub fn timestamp(millis: u64) -> String {
    jiff::Timestamp::from_millisecond(i64::try_from(millis).unwrap())
        .unwrap()
        .to_string()
}
