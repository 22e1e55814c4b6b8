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
/// Lanes that a vector may have beyond those with which it began. Those that have ended are dropped then.
const MAX_NEW_LANES: usize = 1_000;
/// The most rows of one lane in a page of the log. `news_v2` has the same number.
const PAGE_ROWS: usize = 500;
/// The changes after which a page of the log ends. `news_v2` has the same number.
const PAGE_CHANGES: usize = 65_536;

/// The last commit seen of each lane, in one history of the store.
#[derive(Debug, Default)]
struct Vector {
    history: u64,
    own: i64,
    begun_with: usize,
    lanes: HashMap<i64, i64>,
}

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
        self.lanes.get(&lane).copied().unwrap_or(0)
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
        self.lanes.insert(lane, last);
    }

    /// Whether the log can be read from here on. If this server has another lane than before, it was away for an
    /// hour, and lanes may have ended of which it has not seen everything.
    fn is_valid(&self, history: u64, own: i64) -> bool {
        self.history == history && self.own == own && self.lanes.len() <= self.begun_with + MAX_NEW_LANES
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
            tokio::time::sleep(match failure {
                Failure::Refused { .. } => POLL_INTERVAL,
                _ => SILENT_POLL_INTERVAL,
            })
            .await;
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
fn take(core: &Core, feed: &dyn Feed, vector: &mut Option<Vector>, message: Message) -> bool {
    let (
        Some(vector),
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
async fn poll(core: &Core, feed: &dyn Feed, vector: &mut Option<Vector>) -> Result<(), Failure> {
    let (history, own) = (core.connections.history(), core.lane_id());
    let current = match vector {
        Some(vector) if vector.is_valid(history, own) => vector,
        _ => {
            let vector = vector.insert(begin(core, history, own).await?);
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

async fn begin(core: &Core, history: u64, own: i64) -> Result<Vector, Failure> {
    let rows = core
        .connections
        .read("select lane, n from durable_streams.lanes_v1()", &[])
        .await?;
    let lanes = rows.iter().map(|row| Ok((get(row, 0)?, get(row, 1)?)));
    let lanes: HashMap<i64, i64> = lanes.collect::<Result<_, Failure>>()?;
    Ok(Vector {
        history,
        own,
        begun_with: lanes.len(),
        lanes,
    })
}

/// Reads a page of the log. True: there is more.
async fn read_log(core: &Core, feed: &dyn Feed, vector: &mut Vector) -> Result<bool, Failure> {
    const NEWS: &str = "select lane, n, ids, revs, tails from durable_streams.news_v2($1, $2, $3)";
    let (lanes, numbers): (Vec<i64>, Vec<i64>) = vector.lanes.iter().unzip();
    let parameters = [
        (&vector.own as _, Type::INT8),
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
    Ok(rows.len() >= PAGE_ROWS || changes.len() >= PAGE_CHANGES)
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

    #[test]
    fn a_vector_begins_anew_with_another_history_or_lane_or_too_many_new_lanes() {
        let mut vector = Vector {
            history: 7,
            own: 2,
            begun_with: 5_000,
            lanes: (0..5_000).map(|lane| (lane, 1)).collect(),
        };
        assert!(vector.is_valid(7, 2));
        assert!(!vector.is_valid(8, 2));
        assert!(!vector.is_valid(7, 3));
        (0..MAX_NEW_LANES as i64).for_each(|lane| vector.advance(10_000 + lane, 1));
        assert!(vector.is_valid(7, 2));
        vector.advance(20_000, 1);
        assert!(!vector.is_valid(7, 2));
    }
}
