//! Appends to many streams over many connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use super::{BINARY, Figures, JSON, Meter, Outcome, all, connections, expect, read_all, send};
use crate::{
    client::{Connection, Request},
    contender::Contender,
    process::Server,
    row::{Measure, Settings},
    statistics::percentile,
};

const STREAMS: usize = 64;
const BODY: usize = 256;

/// The streams, the body, and the number of appends that each stream has acknowledged.
struct Plan {
    content_type: &'static str,
    body: Vec<u8>,
    streams: Vec<String>,
    written: Vec<AtomicU64>,
    with_producers: bool,
}

pub struct Append {
    plan: Arc<Plan>,
    connections: usize,
}

impl Append {
    pub fn binary(settings: &Settings, connections: usize) -> Self {
        let plan = Plan::binary(settings, &format!("append{connections}"), STREAMS);
        Self::new(plan, connections)
    }

    pub fn to_one_stream(settings: &Settings, connections: usize) -> Self {
        Self::new(Plan::binary(settings, "hot", 1), connections)
    }

    pub fn json(settings: &Settings) -> Self {
        let value = "x".repeat(BODY - r#"[{"value":""}]"#.len());
        let plan = Plan {
            content_type: JSON,
            body: format!(r#"[{{"value":"{value}"}}]"#).into_bytes(),
            ..Plan::binary(settings, "json", STREAMS)
        };
        Self::new(plan, 32)
    }

    /// One producer per stream, so that its sequence numbers arrive in order.
    pub fn by_producers(settings: &Settings) -> Self {
        let plan = Plan {
            with_producers: true,
            ..Plan::binary(settings, "producer", STREAMS)
        };
        Self::new(plan, 32)
    }

    fn new(plan: Plan, connections: usize) -> Self {
        Self {
            plan: Arc::new(plan),
            connections,
        }
    }

    pub async fn prepare(&self, contender: &Contender, server: &Server) -> Outcome {
        let mut connection = contender.connect(server.address()).await?;
        for stream in &self.plan.streams {
            let request = contender.create(stream, self.plan.content_type);
            send(&mut connection, "create", &request).await?;
        }
        Ok(())
    }

    pub async fn turn(&self, contender: &Contender, server: &Server, length: Duration) -> Outcome<Figures> {
        let requests: Vec<Request> = self
            .plan
            .streams
            .iter()
            .map(|stream| contender.append(stream, self.plan.content_type, &self.plan.body))
            .collect();
        let requests = Arc::new(requests);
        let connections = connections(contender, server, self.connections).await?;
        let mut tasks = JoinSet::new();
        let meter = Meter::start(server)?;
        let end = Instant::now() + length;
        for (index, connection) in connections.into_iter().enumerate() {
            let (plan, requests, contender) = (Arc::clone(&self.plan), Arc::clone(&requests), contender.clone());
            tasks.spawn(async move {
                if plan.with_producers {
                    plan.append_as_producers(connection, &contender, index, end).await
                } else {
                    plan.append(connection, &requests, index, end).await
                }
            });
        }
        let mut latencies: Vec<u32> = all(tasks).await?.concat();
        let mut figures = meter.stop(server, latencies.len() as u64).await?;
        latencies.sort_unstable();
        let micros = |q| percentile(&latencies, q).map_or(0.0, |nanos| f64::from(nanos) / 1000.0);
        figures.extend([(Measure::P50, micros(0.5)), (Measure::P99, micros(0.99))]);
        Ok(figures)
    }

    /// Checks that every acknowledged append is stored.
    pub async fn check(&self, contender: &Contender, server: &Server) -> Outcome {
        let mut connection = contender.connect(server.address()).await?;
        for (stream, written) in self.plan.streams.iter().zip(&self.plan.written) {
            let count = written.load(Ordering::Relaxed) as usize;
            let content = read_all(contender, &mut connection, stream).await?;
            let good = if self.plan.content_type == JSON {
                // An array of one is stored as its element, and read as part of an array.
                content.iter().filter(|&&byte| byte == b'{').count() == count
            } else {
                content.len() == count * BODY && content.iter().all(|&byte| byte == b'x')
            };
            expect(&format!("content after {count} appends"), good, content.len())?;
        }
        Ok(())
    }
}

impl Plan {
    fn binary(settings: &Settings, name: &str, streams: usize) -> Self {
        Self {
            content_type: BINARY,
            body: vec![b'x'; BODY],
            streams: (0..streams)
                .map(|index| settings.path(&format!("{name}-{index}")))
                .collect(),
            written: (0..streams).map(|_| AtomicU64::new(0)).collect(),
            with_producers: false,
        }
    }

    /// Each connection cycles through the streams from its own start. Returns the latencies in
    /// nanoseconds.
    async fn append(
        &self,
        mut connection: Connection,
        requests: &[Request],
        index: usize,
        end: Instant,
    ) -> Outcome<Vec<u32>> {
        let mut latencies = Vec::new();
        let mut sent = Instant::now();
        while sent < end {
            let stream = (index * 2 + latencies.len()) % requests.len();
            send(&mut connection, "append", &requests[stream]).await?;
            self.written[stream].fetch_add(1, Ordering::Relaxed);
            sent = record(&mut latencies, sent);
        }
        Ok(latencies)
    }

    /// Each connection has two streams of its own.
    async fn append_as_producers(
        &self,
        mut connection: Connection,
        contender: &Contender,
        index: usize,
        end: Instant,
    ) -> Outcome<Vec<u32>> {
        let mut latencies = Vec::new();
        let mut sent = Instant::now();
        while sent < end {
            let stream = index * 2 + latencies.len() % 2;
            let sequence = self.written[stream].load(Ordering::Relaxed);
            let path = &self.streams[stream];
            let request = contender.append_as_producer(path, self.content_type, sequence, &self.body);
            send(&mut connection, "append", &request).await?;
            self.written[stream].store(sequence + 1, Ordering::Relaxed);
            sent = record(&mut latencies, sent);
        }
        Ok(latencies)
    }
}

/// Sends each request after the previous response.
fn record(latencies: &mut Vec<u32>, sent: Instant) -> Instant {
    let now = Instant::now();
    latencies.push(u32::try_from((now - sent).as_nanos()).unwrap_or(u32::MAX));
    now
}
