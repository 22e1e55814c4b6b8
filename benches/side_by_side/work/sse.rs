//! Many live readers of one stream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{Figures, Meter, Outcome, TEXT, all, expect, failed, send};
use crate::{
    client::{Connection, Request},
    contender::Contender,
    process::Server,
    row::{Measure, Settings},
};

/// Occurs exactly once in every event and nowhere else in an SSE response.
const MARK: u8 = b'~';
/// Tasks that open the connections.
const OPENERS: usize = 32;
/// Larger than an event; 30 MB for 15,000 readers.
const BUFFER: usize = 2048;

pub struct Sse {
    path: String,
    readers: usize,
    per_second: u64,
    events: u64,
}

impl Sse {
    pub fn new(settings: &Settings, readers: usize, per_second: u64, events: u64) -> Self {
        Self {
            path: settings.path("sse"),
            readers,
            per_second,
            events,
        }
    }

    pub async fn prepare(&self, contender: &Contender, server: &Server) -> Outcome {
        let mut connection = contender.connect(server.address()).await?;
        if contender.is_store() {
            send(&mut connection, "create", &contender.create(&self.path, TEXT)).await?;
        }
        // Allocations of the first append and the first reader do not count as memory of a reader.
        let append = contender.append(&self.path, TEXT, &[b'w'; 128]);
        send(&mut connection, "append", &append).await?;
        self.open(contender, server, 1).await.map(drop)
    }

    pub async fn turn(&self, contender: &Contender, server: &Server) -> Outcome<Figures> {
        let mut event = vec![b'e'; 127];
        event.push(MARK);
        let append = contender.append(&self.path, TEXT, &event);
        let mut writer = contender.connect(server.address()).await?;

        let memory_before = server.memory()?;
        let delivered = Arc::new(AtomicU64::new(0));
        let mut readers = JoinSet::new();
        for mut connection in self.open(contender, server, self.readers).await? {
            let delivered = Arc::clone(&delivered);
            readers.spawn(async move {
                while let Ok(events) = connection.count(MARK).await {
                    delivered.fetch_add(events, Ordering::Relaxed);
                }
            });
        }
        // All readers are subscribed once this event has arrived.
        send(&mut writer, "append", &append).await?;
        self.delivered(&delivered, 1).await?;
        server.cpu_when_idle().await?;

        let meter = Meter::start(server)?;
        let mut ticks = interval(Duration::from_micros(1_000_000 / self.per_second));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..self.events {
            ticks.tick().await;
            send(&mut writer, "append", &append).await?;
        }
        self.delivered(&delivered, self.events + 1).await?;
        let mut figures = meter.stop(server, self.events * self.readers as u64).await?;
        let memory = server.memory()?.saturating_sub(memory_before);
        readers.shutdown().await;
        figures.push((Measure::ReaderMemory, memory as f64 / 1024.0 / self.readers as f64));
        Ok(figures)
    }

    async fn open(&self, contender: &Contender, server: &Server, count: usize) -> Outcome<Vec<Connection>> {
        let mut tasks = JoinSet::new();
        for opener in 0..OPENERS.min(count) {
            let (contender, address) = (contender.clone(), server.address());
            let request: Request = contender.get(&format!("{}?offset=now&live=sse", self.path));
            let share = (count - opener).div_ceil(OPENERS);
            tasks.spawn(async move {
                let mut opened = Vec::with_capacity(share);
                for _ in 0..share {
                    let mut connection = Connection::with_buffer(address, contender.tls_client(), BUFFER)
                        .await
                        .map_err(failed("connect"))?;
                    let response = connection.open_stream(&request).await.map_err(failed("SSE"))?;
                    expect("SSE", response.status == 200, response)?;
                    opened.push(connection);
                }
                Ok(opened)
            });
        }
        Ok(all(tasks).await?.into_iter().flatten().collect())
    }

    /// Waits until each reader has received `events` events, and checks that none received more.
    async fn delivered(&self, delivered: &AtomicU64, events: u64) -> Outcome {
        let expected = events * self.readers as u64;
        let arrived = async {
            while delivered.load(Ordering::Relaxed) < expected {
                sleep(Duration::from_millis(2)).await;
            }
        };
        let _ = timeout(Duration::from_secs(30), arrived).await;
        let seen = delivered.load(Ordering::Relaxed);
        expect(
            &format!("delivered events instead of {expected}"),
            seen == expected,
            seen,
        )
    }
}
