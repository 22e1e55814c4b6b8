//! Many idle streams, and a restart with them on disk.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Figures, JSON, Outcome, all, connections, expect, send};
use crate::{
    contender::Contender,
    process::Server,
    row::{Measure, Settings},
};

const CONNECTIONS: usize = 64;
const MAX_CREATION: Duration = Duration::from_secs(10);

pub struct Idle<'a> {
    pub settings: &'a Settings,
    pub streams: usize,
}

impl Idle<'_> {
    /// Creates the streams and restarts the server. If the server fails on the way, the streams
    /// created so far are measured, and the failure is the second result.
    pub async fn run(&self, contender: &Contender, dir: &Path) -> Outcome<(Figures, Option<String>)> {
        let server = Server::start(contender, dir).await?;
        let first = self.settings.path("idle-0");
        let mut connections = connections(contender, &server, CONNECTIONS).await?;
        // The first few streams include one-time allocations.
        for (index, connection) in connections.iter_mut().enumerate() {
            let path = self.settings.path(&format!("idle-{index}"));
            send(connection, "create", &contender.create(&path, JSON)).await?;
        }
        let memory_before = server.memory()?;
        let descriptors_before = server.descriptors();
        let end = Instant::now() + MAX_CREATION;
        let next = Arc::new(AtomicU64::new(CONNECTIONS as u64));
        let mut tasks = JoinSet::new();
        for mut connection in connections {
            let (contender, next) = (contender.clone(), Arc::clone(&next));
            let prefix = self.settings.path("idle-");
            let last = (self.streams + CONNECTIONS) as u64;
            tasks.spawn(async move {
                let mut count = 0;
                let mut shortfall = None;
                while Instant::now() < end {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= last {
                        break;
                    }
                    let request = contender.create(&format!("{prefix}{index}"), JSON);
                    if let Err(error) = send(&mut connection, "create", &request).await {
                        shortfall = Some(error);
                        break;
                    }
                    count += 1;
                }
                Ok::<(u64, Option<String>), String>((count, shortfall))
            });
        }
        let results = all(tasks).await?;
        let count: u64 = results.iter().map(|(count, _)| count).sum();
        let shortfall = results.into_iter().find_map(|(_, shortfall)| shortfall);
        let shortfall = shortfall.map(|error| format!("after {count} streams: {error}"));
        expect("idle streams", count > 0, &shortfall)?;
        // Batches in flight and their buffers are not the streams' memory.
        server.cpu_when_idle().await?;
        sleep(Duration::from_millis(500)).await;
        let memory = server.memory()?.saturating_sub(memory_before);
        let descriptors = server.descriptors().saturating_sub(descriptors_before);
        server.stop().await;
        let mut shortfall = shortfall;
        let mut figures = vec![
            (Measure::StreamsCreated, count as f64),
            (Measure::StreamMemory, memory as f64 / count as f64),
            (Measure::StreamDescriptors, descriptors as f64),
        ];
        if contender.is_on_disk() {
            let request = contender.get(&format!("{first}?offset=-1"));
            match Server::start_until(contender, dir, &request).await {
                Ok((server, took)) => {
                    let memory = server.memory()?.saturating_sub(memory_before);
                    figures.push((Measure::Restart, took.as_secs_f64() * 1000.0));
                    figures.push((Measure::StreamMemoryRestarted, memory as f64 / count as f64));
                    server.stop().await;
                }
                Err(error) => shortfall = Some(format!("restart with {count} streams: {error}")),
            }
        }
        Ok((figures, shortfall))
    }
}
