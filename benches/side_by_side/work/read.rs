//! Reads a stream from its start, repeatedly.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use super::{BINARY, Figures, Meter, Outcome, all, connections, expect, failed, read_all, send};
use crate::{
    client::{Connection, Request},
    contender::Contender,
    process::Server,
    row::Settings,
};

/// Tokens for a turn, signed before it begins.
const FRESH_TOKENS: usize = 4000;

pub struct Read {
    path: String,
    size: usize,
    connections: usize,
    fresh_tokens: bool,
    turns: AtomicUsize,
}

/// A read; a server may return a large stream in pages.
type Pages = Vec<(Request, usize)>;

impl Read {
    pub fn new(settings: &Settings, name: &str, size: usize, connections: usize) -> Self {
        Self {
            path: settings.path(name),
            size,
            connections,
            fresh_tokens: false,
            turns: AtomicUsize::new(0),
        }
    }

    pub fn with_fresh_tokens(mut self) -> Self {
        self.fresh_tokens = true;
        self
    }

    pub async fn prepare(&self, contender: &Contender, server: &Server) -> Outcome {
        let mut connection = contender.connect(server.address()).await?;
        if contender.is_store() {
            send(&mut connection, "create", &contender.create(&self.path, BINARY)).await?;
            let request = contender.append(&self.path, BINARY, &vec![b'x'; self.size]);
            send(&mut connection, "append", &request).await?;
        }
        let content = read_all(contender, &mut connection, &self.path).await?;
        let good = content.len() == self.size && content.iter().all(|&byte| byte == b'x');
        expect("content", good, content.len())
    }

    pub async fn turn(&self, contender: &Contender, server: &Server, length: Duration) -> Outcome<Figures> {
        let reads = Arc::new(match contender.credentials().filter(|_| self.fresh_tokens) {
            Some(credentials) => {
                let turn = self.turns.fetch_add(1, Ordering::Relaxed);
                let path = format!("{}?offset=-1", self.path);
                credentials
                    .fresh_tokens(&turn.to_string(), FRESH_TOKENS)?
                    .iter()
                    .map(|token| vec![(contender.get_with_token(&path, token), self.size)])
                    .collect()
            }
            None => vec![self.pages(contender, server).await?],
        });
        let repeat = reads.len() == 1;
        let connections = connections(contender, server, self.connections).await?;
        let step = connections.len();
        let mut tasks = JoinSet::new();
        let meter = Meter::start(server)?;
        let end = Instant::now() + length;
        for (index, mut connection) in connections.into_iter().enumerate() {
            let reads = Arc::clone(&reads);
            tasks.spawn(async move {
                let mut count = 0;
                while Instant::now() < end {
                    let next = if repeat { 0 } else { index + count as usize * step };
                    let Some(pages) = reads.get(next) else { break };
                    read(&mut connection, pages).await?;
                    count += 1;
                }
                Ok::<u64, String>(count)
            });
        }
        let count = all(tasks).await?.iter().sum();
        meter.stop(server, count).await
    }

    async fn pages(&self, contender: &Contender, server: &Server) -> Outcome<Pages> {
        let mut connection = contender.connect(server.address()).await?;
        let mut pages = Vec::new();
        let mut offset = "-1".to_owned();
        loop {
            let request = contender.get(&format!("{}?offset={offset}", self.path));
            let response = connection.call(&request, None).await.map_err(failed("read"))?;
            expect("read", response.status == 200 && response.length > 0, &response)?;
            pages.push((request, response.length));
            if response.up_to_date {
                return Ok(pages);
            }
            offset = response.next_offset;
        }
    }
}

async fn read(connection: &mut Connection, pages: &Pages) -> Outcome {
    for (request, length) in pages {
        let response = connection.call(request, None).await.map_err(failed("read"))?;
        expect("read", response.status == 200 && response.length == *length, response)?;
    }
    Ok(())
}
