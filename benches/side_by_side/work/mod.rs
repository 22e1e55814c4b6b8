//! The workloads. Each checks the responses, so that a broken server cannot look fast.

mod append;
mod idle;
mod read;
mod sse;

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

pub use self::{append::Append, idle::Idle, read::Read, sse::Sse};
use crate::{
    client::{Connection, Request},
    contender::Contender,
    process::Server,
    row::Measure,
};

const BINARY: &str = "application/octet-stream";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

pub type Outcome<T = ()> = Result<T, String>;
pub type Figures = Vec<(Measure, f64)>;

/// The work of one contender in one row.
pub enum Work {
    Append(Append),
    Read(Read),
    Sse(Sse),
}

impl Work {
    /// Creates the streams.
    pub async fn prepare(&self, contender: &Contender, server: &Server) -> Outcome {
        match self {
            Self::Append(work) => work.prepare(contender, server).await,
            Self::Read(work) => work.prepare(contender, server).await,
            Self::Sse(work) => work.prepare(contender, server).await,
        }
    }

    /// Works for about `length` and returns the figures.
    pub async fn turn(&self, contender: &Contender, server: &Server, length: Duration) -> Outcome<Figures> {
        match self {
            Self::Append(work) => work.turn(contender, server, length).await,
            Self::Read(work) => work.turn(contender, server, length).await,
            Self::Sse(work) => work.turn(contender, server).await,
        }
    }

    /// Checks that the streams hold what the turns appended.
    pub async fn check(&self, contender: &Contender, server: &Server) -> Outcome {
        match self {
            Self::Append(work) => work.check(contender, server).await,
            Self::Read(_) | Self::Sse(_) => Ok(()),
        }
    }
}

/// The CPU of the server and of its database, and the time, since a turn began.
struct Meter {
    cpu: Duration,
    database_cpu: Option<Duration>,
    started: Instant,
}

impl Meter {
    fn start(server: &Server) -> Outcome<Self> {
        Ok(Self {
            cpu: server.cpu()?,
            database_cpu: server.database_cpu(),
            started: Instant::now(),
        })
    }

    /// CPU per operation, and throughput.
    async fn stop(self, server: &Server, count: u64) -> Outcome<Figures> {
        let elapsed = self.started.elapsed();
        if count == 0 {
            return Err("nothing was done".into());
        }
        let micros = |now: Duration, before: Duration| now.saturating_sub(before).as_secs_f64() * 1e6 / count as f64;
        let mut figures = vec![
            (Measure::Cpu, micros(server.cpu_when_idle().await?, self.cpu)),
            (Measure::Throughput, count as f64 / elapsed.as_secs_f64()),
        ];
        if let (Some(now), Some(before)) = (server.database_cpu(), self.database_cpu) {
            figures.push((Measure::DatabaseCpu, micros(now, before)));
        }
        Ok(figures)
    }
}

pub fn failed(what: &str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what}: {error}")
}

fn expect(what: &str, good: bool, seen: impl std::fmt::Debug) -> Outcome {
    if good {
        Ok(())
    } else {
        Err(format!("{what}: unexpected {seen:?}"))
    }
}

async fn send(connection: &mut Connection, what: &str, request: &Request) -> Outcome {
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

async fn connections(contender: &Contender, server: &Server, count: usize) -> Outcome<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for number in 0..count {
        connections.push(contender.connect(server.address_for(number)).await?);
    }
    Ok(connections)
}

async fn all<T: 'static>(mut tasks: JoinSet<Outcome<T>>) -> Outcome<Vec<T>> {
    let mut results = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        results.push(joined.map_err(|error| error.to_string())??);
    }
    Ok(results)
}
