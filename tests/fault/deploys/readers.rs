//! Thousands of live readers, each a task of a few hundred bytes, that resume as browsers do.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::value::RawValue;
use tokio::{net::TcpStream, runtime::Handle, sync::Semaphore, task::JoinHandle, time::sleep};

use super::{
    events::{Events, Part},
    record::{Failure, Record},
};

/// Readers that connect at the same time at the beginning.
const STARTING: usize = 100;

/// The pause before a retry, for a reader that has not been told one.
const RETRY: Duration = Duration::from_secs(2);

/// What a reader keeps of a stream's content: enough to compare it with the stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    pub messages: usize,
    hash: u64,
}

impl Content {
    pub fn of(messages: &str) -> Self {
        let mut content = Self::default();
        content.add(messages);
        content
    }

    /// Adds the messages of a JSON array.
    fn add(&mut self, array: &str) {
        let messages: Vec<&RawValue> = serde_json::from_str(array).unwrap();
        self.messages += messages.len();
        for byte in messages.iter().flat_map(|message| message.get().bytes()) {
            // FNV-1a.
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The shared part of all readers.
pub struct Fleet {
    to: SocketAddr,
    record: Arc<Record>,
    connected: AtomicUsize,
    starting: Semaphore,
}

/// A running reader; its content at the close of the stream.
pub type Running = JoinHandle<Content>;

impl Fleet {
    pub fn new(to: SocketAddr, record: Arc<Record>) -> Arc<Self> {
        Arc::new(Self {
            to,
            record,
            connected: AtomicUsize::new(0),
            starting: Semaphore::new(STARTING),
        })
    }

    /// Readers that have a response.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Follows a stream, given by path and query without an offset, to its close.
    pub fn follow(self: &Arc<Self>, runtime: &Handle, target: Arc<str>) -> Running {
        let fleet = Arc::clone(self);
        runtime.spawn(async move {
            let permit = fleet.starting.acquire().await.unwrap();
            let mut reader = Reader::new(&fleet, target);
            let mut permit = Some(permit);
            while !reader.is_closed {
                if let Err(error) = reader.read(|| drop(permit.take())).await {
                    fleet
                        .record
                        .failed(Failure::Connection, "live read", &error.to_string());
                }
                if !reader.is_closed {
                    reader.ended.get_or_insert_with(Instant::now);
                    sleep(reader.retry).await;
                }
            }
            reader.read
        })
    }
}

struct Reader<'a> {
    fleet: &'a Fleet,
    target: Arc<str>,
    offset: String,
    /// The content up to `offset`.
    read: Content,
    retry: Duration,
    is_closed: bool,
    /// The end of the last response, until there is another one.
    ended: Option<Instant>,
}

impl<'a> Reader<'a> {
    fn new(fleet: &'a Fleet, target: Arc<str>) -> Self {
        Self {
            fleet,
            target,
            offset: "-1".to_owned(),
            read: Content::default(),
            retry: RETRY,
            is_closed: false,
            ended: None,
        }
    }

    /// Reads one response to its end, or to the end of its connection.
    async fn read(&mut self, responded: impl FnOnce()) -> io::Result<()> {
        let stream = TcpStream::connect(self.fleet.to).await?;
        let request = format!(
            "GET {}&offset={} HTTP/1.1\r\nhost: streams.test\r\naccept: text/event-stream\r\n\r\n",
            self.target, self.offset
        );
        stream.writable().await?;
        if stream.try_write(request.as_bytes())? != request.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut response = Response {
            pending: self.read,
            ..Response::default()
        };
        let mut responded = Some(responded);
        let ended = self.receive(&stream, &mut response, &mut responded).await;
        if response.is_live {
            self.fleet.connected.fetch_sub(1, Ordering::Relaxed);
            // Live reads end at any time; the reader resumes.
            return Ok(());
        }
        ended
    }

    async fn receive(
        &mut self,
        stream: &TcpStream,
        response: &mut Response,
        responded: &mut Option<impl FnOnce()>,
    ) -> io::Result<()> {
        let mut events = Events::new();
        while !events.is_over() {
            stream.readable().await?;
            // On the stack of the thread, not in the task: it is not held while the task waits.
            let mut buffer = [0; 16 * 1024];
            let length = match stream.try_read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            let mut status = None;
            events.feed(&buffer[..length], |part| match part {
                Part::Status(said) => status = Some(said),
                Part::Line(line) => self.line(line, response),
                Part::End => {}
            });
            match status {
                Some(200) => {
                    response.is_live = true;
                    self.fleet.connected.fetch_add(1, Ordering::Relaxed);
                    if let Some(responded) = responded.take() {
                        responded();
                    }
                    if let Some(ended) = self.ended.take() {
                        self.fleet.record.returned(ended.elapsed());
                    }
                }
                Some(status) => {
                    let said = String::from_utf8_lossy(&buffer[..length]);
                    let kind = failure(status, &said);
                    self.fleet.record.failed(kind, "live read", &said);
                    return Ok(());
                }
                None => {}
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], response: &mut Response) {
        let line = std::str::from_utf8(line).unwrap();
        if let Some(data) = line.strip_prefix("data:") {
            response.data.push_str(data);
        } else if let Some(event) = line.strip_prefix("event:") {
            response.is_control = event.trim() == "control";
        } else if let Some(retry) = line.strip_prefix("retry:") {
            self.retry = Duration::from_millis(retry.trim().parse().unwrap());
        } else if line.is_empty() && !response.data.is_empty() {
            let data = std::mem::take(&mut response.data);
            match response.is_control {
                true => self.control(&data, response),
                false => response.pending.add(&data),
            }
        }
    }

    fn control(&mut self, data: &str, response: &Response) {
        let control: serde_json::Value = serde_json::from_str(data).unwrap();
        self.offset = control["streamNextOffset"].as_str().unwrap().to_owned();
        self.read = response.pending;
        self.is_closed |= control["streamClosed"] == true;
    }
}

/// The state of one response.
#[derive(Default)]
struct Response {
    is_live: bool,
    is_control: bool,
    data: String,
    /// With the data since the last offset.
    pending: Content,
}

/// Problems are the server's; everything else is the proxy's, which cannot reach it.
pub fn failure(status: u16, response: &str) -> Failure {
    let is_servers = response.contains("application/problem+json") && !response.contains("successor-lost");
    match (status, is_servers) {
        (502..=504, false) => Failure::Connection,
        _ => Failure::Refused,
    }
}
