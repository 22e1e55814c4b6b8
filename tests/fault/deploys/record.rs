//! What the clients have seen, and the figures of it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The time after a switch that counts as its own in the figures.
const SWITCH: Duration = Duration::from_secs(2);

/// Failures whose text is kept.
const KEPT_FAILURES: usize = 20;

#[derive(Default)]
pub struct Record {
    writes: Mutex<Vec<(Instant, Duration)>>,
    switches: Mutex<Vec<Instant>>,
    returns: Mutex<Vec<Duration>>,
    reads: AtomicUsize,
    failures: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    by_kind: BTreeMap<String, usize>,
    first: Vec<String>,
}

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection failed, or the proxy could not reach a server or lost it.
    Connection,
    /// The server answered with an error.
    Refused,
}

impl Record {
    pub fn wrote(&self, started: Instant, took: Duration) {
        self.writes.lock().unwrap().push((started, took));
    }

    pub fn writes(&self) -> usize {
        self.writes.lock().unwrap().len()
    }

    pub fn switched(&self) {
        self.switches.lock().unwrap().push(Instant::now());
    }

    /// A live read is back after the end of the previous one.
    pub fn returned(&self, after: Duration) {
        self.returns.lock().unwrap().push(after);
    }

    pub fn read(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub fn failed(&self, failure: Failure, what: &str, text: &str) {
        let mut failures = self.failures.lock().unwrap();
        *failures.by_kind.entry(format!("{failure:?} {what}")).or_default() += 1;
        if failures.first.len() < KEPT_FAILURES {
            failures.first.push(format!("{failure:?} {what}: {text}"));
        }
    }

    pub fn failures(&self, failure: Failure) -> usize {
        let failures = self.failures.lock().unwrap();
        let kind = format!("{failure:?}");
        let of_kind = failures.by_kind.iter().filter(|(name, _)| name.starts_with(&kind));
        of_kind.map(|(_, count)| count).sum()
    }

    pub fn longest_return(&self) -> Duration {
        self.returns.lock().unwrap().iter().max().copied().unwrap_or_default()
    }

    /// The figures in lines of text.
    pub fn report(&self, name: &str) -> String {
        let writes = self.writes.lock().unwrap();
        let switches = self.switches.lock().unwrap();
        let is_in_switch = |started: &Instant, took: &Duration| {
            let ended = *started + *took;
            switches
                .iter()
                .any(|switch| ended >= *switch && *started <= *switch + SWITCH)
        };
        let all: Vec<Duration> = writes.iter().map(|(_, took)| *took).collect();
        let switching = writes.iter().filter(|(started, took)| is_in_switch(started, took));
        let switching: Vec<Duration> = switching.map(|(_, took)| *took).collect();
        let returns = self.returns.lock().unwrap().clone();
        let failures = self.failures.lock().unwrap();
        let mut text = format!(
            "{name}: {} switches\n  writes             {}\n  writes in a switch {}\n  readers' returns   {}\n  \
             other reads {}\n  failures {:?}",
            switches.len(),
            figures(all),
            figures(switching),
            figures(returns),
            self.reads.load(Ordering::Relaxed),
            failures.by_kind,
        );
        for failure in &failures.first {
            text.push_str("\n    ");
            text.push_str(failure);
        }
        text
    }
}

fn figures(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let part = |percent: usize| {
        let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(at).map_or(0, Duration::as_millis)
    };
    format!(
        "{:6}   p50 {} ms   p99 {} ms   longest {} ms",
        times.len(),
        part(50),
        part(99),
        part(100)
    )
}
