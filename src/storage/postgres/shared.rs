//! What servers that share the store need.

use std::{
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio_postgres::types::Type;

use super::{
    Core, PostgresStorage, connections::Purpose, failure::Failure, listener, news, outcome::get, usage::Growth,
};
use crate::{
    clock::Clock,
    protocol::StreamName,
    storage::{
        CommitError, DUTY_LEASE, Duty, Feed, Group, Lookup, Position, SharedStore, StorageError, StoreFigures,
        StreamId, Verdicts,
    },
};

/// How often the contents of the store are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// How often the database is asked for the outcome of a commit that is unknown.
const SETTLE_INTERVAL: Duration = Duration::from_secs(1);
/// Notifications that wait to be taken. Those for which there is no room are found in the log.
const MAX_EVENTS: usize = 4_096;

impl SharedStore for PostgresStorage {
    fn clock(&self) -> Clock {
        self.core.clock.clock()
    }

    fn history(&self) -> u64 {
        self.core.connections.history()
    }

    fn commit_in(&self, history: u64, groups: &[Group]) -> Result<Verdicts, CommitError> {
        self.block(self.core.commit(history, groups))?
    }

    fn refresh(&self, names: &[StreamName]) -> Result<Vec<Lookup>, StorageError> {
        let keys: Vec<&str> = names.iter().map(StreamName::key).collect();
        self.block(self.core.streams(Purpose::Lookups, &keys))?
    }

    fn refresh_async<'s>(&'s self, names: &'s [StreamName]) -> BoxFuture<'s, Result<Vec<Lookup>, StorageError>> {
        let keys: Vec<&str> = names.iter().map(StreamName::key).collect();
        Box::pin(async move { self.core.streams(Purpose::FreshReads, &keys).await })
    }

    fn read_many(&self, ranges: &[(StreamId, Range<Position>)]) -> Result<Vec<Bytes>, StorageError> {
        self.block(self.core.ranges(ranges))?
    }

    fn follow(&self, feed: Weak<dyn Feed>) {
        let (Some(runtime), Ok(())) = (&self.runtime, self.core.feed.set(feed)) else {
            return;
        };
        let (events, received) = tokio::sync::mpsc::channel(MAX_EVENTS);
        drop(runtime.spawn(news::follow(Arc::clone(&self.core), received)));
        drop(runtime.spawn(listener::listen(Arc::clone(&self.core), events)));
    }

    fn outage(&self) -> Option<String> {
        self.core.connections.outage()
    }

    fn figures(&self) -> StoreFigures {
        self.core.connections.figures.at(self.core.clock.local().instant())
    }

    fn take_duty(&self, duty: Duty) -> Result<bool, StorageError> {
        const DUTY: &str =
            "select durable_streams.duty_v1($1, $2, $3), set_config('synchronous_commit', 'local', true)";
        let name = match duty {
            Duty::Sweep => "sweep",
            Duty::Retention => "retention",
            Duty::Upkeep => "upkeep",
            Duty::Subscriptions => "subscriptions",
        };
        self.block(async {
            let (lane, seconds) = (self.core.lane_id(), DUTY_LEASE.as_secs_f64());
            let parameters = [
                (&name as _, Type::TEXT),
                (&lane as _, Type::INT8),
                (&seconds as _, Type::FLOAT8),
            ];
            let rows = self
                .core
                .connections
                .read_for(Purpose::Upkeep, DUTY, &parameters)
                .await?;
            Ok(rows.first().map_or(Ok(false), |row| get(row, 0))?)
        })?
    }
}

impl Core {
    /// Counts the contents of the store and asks for its time, now and then, and shows that this server is alive.
    pub(super) async fn count(self: Arc<Self>) {
        loop {
            tokio::time::sleep(COUNT_INTERVAL).await;
            if let Err(failure) = self.ask_time().await {
                tracing::debug!(%failure, "the database does not tell its time; will retry");
            }
            if let Err(failure) = self.count_once().await {
                tracing::debug!(%failure, "the store cannot be counted; will retry");
            }
            if let Err(failure) = self.show_alive().await {
                tracing::debug!(%failure, "this server cannot show that it is alive; will retry");
            }
        }
    }

    /// Finds out about commits of unknown outcome, and about another history, although nothing else is committed.
    pub(super) async fn settle(self: Arc<Self>) {
        loop {
            tokio::time::sleep(SETTLE_INTERVAL).await;
            // A commit that is under way has settled the last one.
            let Ok(mut lane) = self.lane.try_lock() else { continue };
            if let Err(error) = lane.keep_up(&self.connections).await {
                tracing::debug!(%error, "the lane cannot be brought up to date; will retry");
            }
            self.note(&mut lane);
        }
    }

    /// Learns the database's time, although nobody reads or writes.
    pub(super) async fn ask_time(&self) -> Result<(), Failure> {
        const TIME: &str = "select (extract(epoch from clock_timestamp()) * 1000000)::bigint";
        let sent = self.clock.local().instant();
        let rows = self.connections.read(TIME, &[]).await?;
        let received = self.clock.local().instant();
        if let Some(row) = rows.first() {
            self.clock.note(get(row, 0)?, sent, received);
        }
        Ok(())
    }

    pub(super) async fn show_alive(&self) -> Result<(), Failure> {
        const SEEN: &str = "select durable_streams.seen_v2($1), set_config('synchronous_commit', 'local', true)";
        let seen = self.lane_id();
        let parameters = [(&seen as _, Type::INT8)];
        let rows = self.connections.read_for(Purpose::Upkeep, SEEN, &parameters).await?;
        if rows.first().map_or(Ok(true), |row| get(row, 0))? {
            return Ok(());
        }
        // Nothing was heard of this server for an hour. The next commit may be far away.
        let mut lane = self.lane.lock().await;
        if lane.id() == seen {
            lane.register(&self.connections).await?;
            self.note(&mut lane);
        }
        Ok(())
    }

    pub(super) async fn count_once(&self) -> Result<(), Failure> {
        const USAGE: &str = "select lane, n, streams, bytes from durable_streams.usage_v2($1, $2)";
        let now = self.clock.local().instant();
        let question = self.usage.question(self.connections.history(), now);
        let (lanes, numbers) = question.vector().unzip();
        let parameters = [(&lanes as _, Type::INT8_ARRAY), (&numbers as _, Type::INT8_ARRAY)];
        let rows = self.connections.read_for(Purpose::Upkeep, USAGE, &parameters).await?;
        let growth = |row| {
            Ok(Growth {
                lane: get(row, 0)?,
                n: get(row, 1)?,
                streams: get(row, 2)?,
                bytes: get(row, 3)?,
            })
        };
        let answer: Vec<Growth> = rows.iter().map(growth).collect::<Result<_, Failure>>()?;
        self.usage.counted(question, &answer);
        Ok(())
    }
}
