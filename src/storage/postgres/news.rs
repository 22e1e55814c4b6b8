//! The changes of other servers, from notifications and from the log.
//!
//! A vector has the number of the last commit that was seen of each lane. A notification that continues it is
//! taken as it is. Otherwise, and each second in any case, the log is read from the vector on. Where the log
//! no longer has what comes next, changes were missed.

use std::{
    collections::HashMap,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tokio_postgres::types::Type;

use super::{Core, encoding::unsigned, failure::Failure, listener::Event, notifier::Message, outcome::get};
use crate::storage::{Changed, Feed};

/// How often the log is read although notifications arrive,
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// and if they do not.
const SILENT_POLL_INTERVAL: Duration = Duration::from_millis(25);
/// How often a server tests whether it hears notifications.
const TEST_INTERVAL: Duration = Duration::from_secs(10);
/// A test that was not heard in this time has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Lanes in the vector beyond which those that have ended are dropped.
const MAX_LANES: usize = 1_000;
/// The rows of one lane that the log gives at once.
const PAGE: usize = 2_000;

/// The last commit seen of each lane.
#[derive(Debug, Default)]
struct Vector(HashMap<i64, i64>);

/// What to make of a commit of another server.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is the next one.
    Next,
    /// It is known.
    Known,
    /// Others are missing before it, or a part of it is known.
    Gap,
}

impl Vector {
    fn last(&self, lane: i64) -> i64 {
        self.0.get(&lane).copied().unwrap_or(0)
    }

    fn step(&self, lane: i64, first: i64, last: i64) -> Step {
        let known = self.last(lane);
        match () {
            () if last <= known => Step::Known,
            () if first == known + 1 => Step::Next,
            () => Step::Gap,
        }
    }

    fn advance(&mut self, lane: i64, last: i64) {
        self.0.insert(lane, last);
    }
}

/// Whether notifications arrive.
#[derive(Debug)]
struct Hearing {
    number: u64,
    next_test: Instant,
    deadline: Option<Instant>,
    hears: bool,
    is_reported: bool,
}

impl Hearing {
    fn new() -> Self {
        Self {
            number: 0,
            next_test: Instant::now() + TEST_TIMEOUT,
            deadline: None,
            hears: false,
            is_reported: false,
        }
    }

    fn test(&mut self, core: &Core) {
        let now = Instant::now();
        self.number += 1;
        core.notifier.test(core.lane_id(), self.number);
        self.deadline.get_or_insert(now + TEST_TIMEOUT);
        self.next_test = now + TEST_INTERVAL;
    }

    fn heard(&mut self, number: u64) {
        if number != self.number {
            return;
        }
        self.deadline = None;
        if !self.hears {
            tracing::info!("notifications of other servers arrive");
        }
        (self.hears, self.is_reported) = (true, false);
    }

    fn check(&mut self, core: &Core) {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            (self.hears, self.deadline) = (false, None);
            // While the database is away, that is the news.
            if !self.is_reported && core.connections.outage().is_none() {
                self.is_reported = true;
                tracing::warn!(
                    database = core.listen.shown,
                    "notifications do not arrive, probably because a pooler does not pass them on: reading the log \
                     each {SILENT_POLL_INTERVAL:?} instead. Set storage.listen_url to a direct connection"
                );
            }
        }
        if now >= self.next_test {
            self.test(core);
        }
    }

    fn poll_interval(&self) -> Duration {
        if self.hears {
            POLL_INTERVAL
        } else {
            SILENT_POLL_INTERVAL
        }
    }
}

/// Tells the feed what other servers change, for as long as it exists.
pub(super) async fn follow(core: Arc<Core>, mut events: mpsc::Receiver<Event>) {
    let (mut vector, mut hearing) = (None, Hearing::new());
    let mut history_checked = Instant::now();
    loop {
        let Some(feed) = core.feed.get().and_then(Weak::upgrade) else {
            return;
        };
        if vector.is_some() && history_checked.elapsed() >= POLL_INTERVAL {
            history_checked = Instant::now();
            core.connections.check_history().await;
        }
        let polled = poll(&core, &*feed, &mut vector).await;
        drop(feed);
        if let Err(failure) = polled {
            // What has changed meanwhile, the log may not have any longer.
            vector = None;
            tracing::debug!(%failure, "the log cannot be read; will retry");
            tokio::time::sleep(SILENT_POLL_INTERVAL).await;
            continue;
        }
        let next_poll = Instant::now() + hearing.poll_interval();
        loop {
            hearing.check(&core);
            core.connections.figures.hears.store(hearing.hears, Ordering::Relaxed);
            let wake = next_poll
                .min(hearing.deadline.unwrap_or(hearing.next_test))
                .min(hearing.next_test);
            let event = match tokio::time::timeout_at(wake, events.recv()).await {
                Ok(Some(event)) => event,
                Ok(None) => return,
                Err(_) if Instant::now() >= next_poll => break,
                Err(_) => continue,
            };
            match event {
                Event::Listening => hearing.test(&core),
                Event::Message(Message::Test { lane, number }) if lane == core.lane_id() => hearing.heard(number),
                Event::Message(Message::Test { .. }) => {}
                Event::Message(message) => {
                    core.connections.figures.notifications_received.add(1);
                    let Some(feed) = core.feed.get().and_then(Weak::upgrade) else {
                        return;
                    };
                    if !take(&core, &*feed, &mut vector, message) {
                        break;
                    }
                }
            }
        }
    }
}

/// Takes a notification over. False: the log must be read.
fn take(core: &Core, feed: &dyn Feed, vector: &mut Option<(u64, Vector)>, message: Message) -> bool {
    let (
        Some((_, vector)),
        Message::Commits {
            lane,
            first,
            last,
            changes,
        },
    ) = (vector, message)
    else {
        return true;
    };
    if lane == core.lane_id() {
        return true;
    }
    match (vector.step(lane, first, last), changes) {
        (Step::Known, _) => true,
        (Step::Next, Some(changes)) => {
            let changes: Vec<Changed> = changes.into_iter().map(Changed::from).collect();
            feed.changed(&changes);
            vector.advance(lane, last);
            true
        }
        (Step::Next | Step::Gap, _) => false,
    }
}

/// Reads the log from the vector on. Without a vector, it begins with the present.
async fn poll(core: &Core, feed: &dyn Feed, vector: &mut Option<(u64, Vector)>) -> Result<(), Failure> {
    let history = core.connections.history();
    let current = match vector {
        Some((of, vector)) if *of == history && vector.0.len() <= MAX_LANES => vector,
        _ => {
            let begun = begin(core).await?;
            let (_, vector) = vector.insert((history, begun));
            // What happened before is not in the vector.
            feed.missed();
            vector
        }
    };
    // The next call finds later commits.
    let mut begun_at = core.clock.local().instant();
    while read_log(core, feed, current).await? {
        begun_at = core.clock.local().instant();
    }
    *core.connections.figures.caught_up_at.lock() = Some(begun_at);
    Ok(())
}

async fn begin(core: &Core) -> Result<Vector, Failure> {
    let rows = core
        .connections
        .read("select lane, n from durable_streams.lanes_v1()", &[])
        .await?;
    let lanes = rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?)));
    Ok(Vector(lanes.collect::<Result<_, Failure>>()?))
}

/// Reads a page of the log. True: there is more.
async fn read_log(core: &Core, feed: &dyn Feed, vector: &mut Vector) -> Result<bool, Failure> {
    const NEWS: &str = "select lane, n, ids, revs, tails from durable_streams.news_v1($1, $2, $3)";
    let (own, (lanes, numbers)): (i64, (Vec<i64>, Vec<i64>)) = (core.lane_id(), vector.0.iter().unzip());
    let parameters = [
        (&own as _, Type::INT8),
        (&lanes as _, Type::INT8_ARRAY),
        (&numbers as _, Type::INT8_ARRAY),
    ];
    core.connections.figures.log_reads.add(1);
    let rows = core.connections.read(NEWS, &parameters).await?;
    core.connections.figures.log_rows.add(rows.len() as u64);
    let (mut changes, mut missed) = (Vec::new(), false);
    for row in &rows {
        let (lane, n) = (get(row, 0)?, get(row, 1)?);
        missed |= vector.step(lane, n, n) == Step::Gap;
        vector.advance(lane, n);
        let (ids, revs, tails): (Vec<i64>, Vec<i64>, Vec<i64>) = (get(row, 2)?, get(row, 3)?, get(row, 4)?);
        changes.extend(
            ids.iter()
                .zip(revs.iter().zip(&tails))
                .map(|(id, (rev, tail))| Changed {
                    id: unsigned(*id),
                    rev: unsigned(*rev),
                    tail: unsigned(*tail),
                    gone: *tail < 0,
                }),
        );
    }
    if !changes.is_empty() {
        feed.changed(&changes);
    }
    if missed {
        feed.missed();
    }
    Ok(rows.len() >= PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_are_next_known_or_after_a_gap() {
        let mut vector = Vector::default();
        assert_eq!(vector.step(1, 1, 3), Step::Next);
        vector.advance(1, 3);
        assert_eq!(vector.step(1, 1, 3), Step::Known);
        assert_eq!(vector.step(1, 2, 5), Step::Gap);
        assert_eq!(vector.step(1, 5, 5), Step::Gap);
        assert_eq!(vector.step(2, 1, 1), Step::Next);
        assert_eq!(vector.step(2, 4, 4), Step::Gap);
    }
}
