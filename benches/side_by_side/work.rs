//! The workloads. Each checks what the server answers, so that a broken server cannot look fast.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{MIB, client::Connection, contender::Contender, process::Server, report::Report};

const BINARY: &str = "application/octet-stream";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

const BASE: &str = "/v1/stream/bench";
pub const LARGE: &str = "/v1/stream/bench-large";
/// Stands in every event exactly once and nowhere else in an SSE response.
const MARK: u8 = b'~';

pub type Outcome<T = ()> = Result<T, String>;

fn failed(what: &str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}

fn expect(what: &str, good: bool, seen: impl std::fmt::Debug) -> Outcome {
    if good {
        Ok(())
    } else {
        Err(format!("{what}: unexpected {seen:?}"))
    }
}

async fn send(connection: &mut Connection, what: &str, request: &[u8]) -> Outcome {
    let response = connection.call(request, None).await.map_err(failed(what))?;
    expect(what, (200..300).contains(&response.status), response)
}

/// The whole stream, page by page.
async fn read_all(contender: &Contender, connection: &mut Connection, path: &str) -> Outcome<Vec<u8>> {
    let mut content = Vec::new();
    let mut offset = "-1".to_owned();
    for _ in 0..10_000 {
        let request = contender.get(&format!("{path}?offset={offset}"));
        let response = connection
            .call(&request, Some(&mut content))
            .await
            .map_err(failed("read"))?;
        expect("read", response.status == 200, &response)?;
        if response.up_to_date {
            return Ok(content);
        }
        offset = response.next_offset;
    }
    Err("a read that never ends".into())
}

async fn connect(address: SocketAddr) -> Outcome<Connection> {
    Connection::open(address).await.map_err(failed("connect"))
}

fn micros_each(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count as f64
}

/// Appends to many streams from many connections.
pub struct Append {
    measure: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    streams: Vec<String>,
    written: Arc<Vec<AtomicU64>>,
}

impl Append {
    pub fn binary() -> Self {
        Self::new("append", BINARY, vec![b'x'; 256])
    }

    pub fn json() -> Self {
        let value = "x".repeat(256 - r#"[{"value":""}]"#.len());
        Self::new("append_json", JSON, format!(r#"[{{"value":"{value}"}}]"#).into_bytes())
    }

    fn new(measure: &'static str, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            measure,
            content_type,
            body,
            streams: (0..64).map(|index| format!("{BASE}-append-{index}")).collect(),
            written: Arc::new((0..64).map(|_| AtomicU64::new(0)).collect()),
        }
    }

    pub async fn prepare(&self, contender: &Contender, server: &Server) -> Outcome {
        let mut connection = connect(server.address).await?;
        for stream in &self.streams {
            send(&mut connection, "create", &contender.create(stream, self.content_type)).await?;
        }
        Ok(())
    }

    pub async fn round(&self, contender: &Contender, server: &Server, round: usize, report: &mut Report) -> Outcome {
        let requests: Arc<Vec<Vec<u8>>> = Arc::new(
            self.streams
                .iter()
                .map(|stream| contender.append(stream, self.content_type, &self.body))
                .collect(),
        );
        let mut connections = Vec::new();
        for _ in 0..32 {
            connections.push(connect(server.address).await?);
        }
        let mut tasks = JoinSet::new();
        let cpu_before = server.cpu()?;
        let end = Instant::now() + Duration::from_secs(2);
        for (index, mut connection) in connections.into_iter().enumerate() {
            let (requests, written) = (Arc::clone(&requests), Arc::clone(&self.written));
            tasks.spawn(async move {
                let mut count = 0;
                while Instant::now() < end {
                    let stream = (index * 2 + count) % requests.len();
                    send(&mut connection, "append", &requests[stream]).await?;
                    written[stream].fetch_add(1, Ordering::Relaxed);
                    count += 1;
                }
                Ok::<u64, String>(count as u64)
            });
        }
        let count = total(tasks).await?;
        report.add(
            self.measure,
            contender.name,
            round,
            micros_each(server.cpu()? - cpu_before, count),
        );
        Ok(())
    }

    /// Every acknowledged append is there.
    pub async fn check(&self, contender: &Contender, server: &Server) -> Outcome {
        let mut connection = connect(server.address).await?;
        for (stream, written) in self.streams.iter().zip(self.written.iter()) {
            let count = written.load(Ordering::Relaxed) as usize;
            let content = read_all(contender, &mut connection, stream).await?;
            let good = if self.content_type == JSON {
                // What is sent as an array of one is stored as its element; pages are arrays.
                content.iter().filter(|&&byte| byte == b'{').count() == count
            } else {
                content.len() == count * self.body.len() && content.iter().all(|&byte| byte == b'x')
            };
            expect(&format!("content after {count} appends"), good, content.len())?;
        }
        Ok(())
    }
}

async fn total(mut tasks: JoinSet<Outcome<u64>>) -> Outcome<u64> {
    let mut sum = 0;
    while let Some(joined) = tasks.join_next().await {
        sum += joined.map_err(|error| error.to_string())??;
    }
    if sum == 0 {
        Err("nothing was done".into())
    } else {
        Ok(sum)
    }
}

/// Reads a stream from its start, over and over.
pub struct Read {
    measure: &'static str,
    path: &'static str,
    size: usize,
    connections: usize,
}

impl Read {
    pub fn small() -> Self {
        Self {
            measure: "read1k",
            path: "/v1/stream/bench-small",
            size: 1024,
            connections: 16,
        }
    }

    pub fn large() -> Self {
        Self {
            measure: "read1m",
            path: LARGE,
            size: MIB,
            connections: 4,
        }
    }

    pub async fn prepare(&self, contender: &Contender, server: &Server) -> Outcome {
        let mut connection = connect(server.address).await?;
        if contender.is_store() {
            send(&mut connection, "create", &contender.create(self.path, BINARY)).await?;
            let request = contender.append(self.path, BINARY, &vec![b'x'; self.size]);
            send(&mut connection, "append", &request).await?;
        }
        let content = read_all(contender, &mut connection, self.path).await?;
        let good = content.len() == self.size && content.iter().all(|&byte| byte == b'x');
        expect("content", good, content.len())
    }

    pub async fn round(&self, contender: &Contender, server: &Server, round: usize, report: &mut Report) -> Outcome {
        let mut pages = vec![];
        let mut connection = connect(server.address).await?;
        // A server may hand a large stream out in pages: a read is all of them.
        let mut offset = "-1".to_owned();
        loop {
            let request = contender.get(&format!("{}?offset={offset}", self.path));
            let response = connection.call(&request, None).await.map_err(failed("read"))?;
            pages.push((request, response.length));
            if response.up_to_date {
                break;
            }
            offset = response.next_offset;
        }
        let pages = Arc::new(pages);
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            connections.push(connect(server.address).await?);
        }
        let mut tasks = JoinSet::new();
        let cpu_before = server.cpu()?;
        let end = Instant::now() + Duration::from_millis(1500);
        for mut connection in connections {
            let pages = Arc::clone(&pages);
            tasks.spawn(async move {
                let mut count = 0;
                while Instant::now() < end {
                    for (request, length) in pages.iter() {
                        let response = connection.call(request, None).await.map_err(failed("read"))?;
                        expect("read", response.status == 200 && response.length == *length, response)?;
                    }
                    count += 1;
                }
                Ok::<u64, String>(count)
            });
        }
        let count = total(tasks).await?;
        report.add(
            self.measure,
            contender.name,
            round,
            micros_each(server.cpu()? - cpu_before, count),
        );
        Ok(())
    }
}

/// Many readers of one stream, live.
pub struct Sse;

impl Sse {
    const READERS: usize = 500;
    const PER_SECOND: u64 = 50;
    const SECONDS: u64 = 3;
    const PATH: &str = "/v1/stream/bench-sse";

    pub async fn prepare(&self, contender: &Contender, server: &Server) -> Outcome {
        let mut connection = connect(server.address).await?;
        if contender.is_store() {
            send(&mut connection, "create", &contender.create(Self::PATH, TEXT)).await?;
        }
        // What the first append and the first reader allocate is not a reader's memory.
        let append = contender.append(Self::PATH, TEXT, &[b'w'; 128]);
        send(&mut connection, "append", &append).await
    }

    pub async fn round(&self, contender: &Contender, server: &Server, round: usize, report: &mut Report) -> Outcome {
        let delivered = Arc::new(AtomicU64::new(0));
        let mut event = vec![b'e'; 127];
        event.push(MARK);
        let append = contender.append(Self::PATH, TEXT, &event);
        let request = contender.get(&format!("{}?offset=now&live=sse", Self::PATH));
        let mut writer = connect(server.address).await?;

        let memory_before = server.memory()?;
        let mut readers = JoinSet::new();
        for _ in 0..Self::READERS {
            let mut connection = Connection::with_buffer(server.address, 8192)
                .await
                .map_err(failed("connect"))?;
            let response = connection.open_stream(&request).await.map_err(failed("SSE"))?;
            expect("SSE", response.status == 200, response)?;
            let delivered = Arc::clone(&delivered);
            readers.spawn(async move {
                while let Ok(bytes) = connection.read().await {
                    let events = bytes.iter().filter(|&&byte| byte == MARK).count();
                    delivered.fetch_add(events as u64, Ordering::Relaxed);
                }
            });
        }
        let all = |events: u64| {
            let delivered = Arc::clone(&delivered);
            async move {
                let expected = events * Self::READERS as u64;
                let arrived = async {
                    while delivered.load(Ordering::Relaxed) < expected {
                        sleep(Duration::from_millis(2)).await;
                    }
                };
                let _ = timeout(Duration::from_secs(10), arrived).await;
                let seen = delivered.load(Ordering::Relaxed);
                expect(
                    &format!("delivered events instead of {expected}"),
                    seen == expected,
                    seen,
                )
            }
        };
        // Everyone listens, and the path is warm.
        send(&mut writer, "append", &append).await?;
        all(1).await?;

        let cpu_before = server.cpu()?;
        let mut ticks = interval(Duration::from_micros(1_000_000 / Self::PER_SECOND));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = Self::PER_SECOND * Self::SECONDS;
        for _ in 0..events {
            ticks.tick().await;
            send(&mut writer, "append", &append).await?;
        }
        all(events + 1).await?;
        let cpu = server.cpu()? - cpu_before;
        let memory = server.memory()?.saturating_sub(memory_before);
        report.add(
            "sse",
            contender.name,
            round,
            micros_each(cpu, events * Self::READERS as u64),
        );
        if round == 0 {
            // Later rounds find memory that the first one's readers have left behind.
            report.add(
                "sse_memory",
                contender.name,
                round,
                memory as f64 / 1024.0 / Self::READERS as f64,
            );
        }
        readers.shutdown().await;
        Ok(())
    }
}

/// What `Idle` has made.
pub struct Created {
    pub path: String,
    pub count: u64,
    pub memory_before: u64,
}

/// Many streams that nobody uses.
pub struct Idle {
    pub streams: usize,
}

impl Idle {
    const LONGEST: Duration = Duration::from_secs(20);

    /// Creates them.
    pub async fn run(&self, contender: &Contender, server: &Server, report: &mut Report) -> Outcome<Created> {
        let path = |index: usize| format!("{BASE}-idle-{index:06}");
        let mut connections = Vec::new();
        for _ in 0..64 {
            connections.push(connect(server.address).await?);
        }
        // The first few pay for what all share.
        for (index, connection) in connections.iter_mut().enumerate() {
            send(connection, "create", &contender.create(&path(index), JSON)).await?;
        }
        let memory_before = server.memory()?;
        let descriptors_before = server.descriptors();
        let end = Instant::now() + Self::LONGEST;
        let (count, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(64)));
        let mut tasks: JoinSet<Outcome> = JoinSet::new();
        for mut connection in connections {
            let (contender, count, next) = (contender.clone(), Arc::clone(&count), Arc::clone(&next));
            let streams = self.streams as u64;
            tasks.spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= streams + 64 || Instant::now() > end {
                        return Ok(());
                    }
                    send(
                        &mut connection,
                        "create",
                        &contender.create(&path(index as usize), JSON),
                    )
                    .await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut problem = None;
        while let Some(joined) = tasks.join_next().await {
            if let Err(error) = joined.map_err(|error| error.to_string())? {
                problem = Some(error);
            }
        }
        let count = count.load(Ordering::Relaxed);
        if let Some(problem) = problem {
            report.problem("idle", contender, &format!("after {count} streams: {problem}"));
        }
        expect("idle streams", count > 0, count)?;
        // Batches under way and their buffers are not the streams' memory.
        sleep(Duration::from_millis(500)).await;
        let memory = server.memory()?.saturating_sub(memory_before);
        report.add("idle_count", contender.name, 0, count as f64);
        report.add("idle_memory", contender.name, 0, memory as f64 / count as f64);
        let descriptors = server.descriptors().saturating_sub(descriptors_before);
        report.add("idle_descriptors", contender.name, 0, descriptors as f64);
        Ok(Created {
            path: path(0),
            count,
            memory_before,
        })
    }
}
