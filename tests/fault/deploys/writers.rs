//! Writers that number what they write: curl without retries, and the gem.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    super::support::{peers, server::BASE, tokens::Issuer},
    readers::failure,
    record::{Failure, Record},
};

/// The outcome of every write, by its name.
pub type Outcomes = BTreeMap<String, Outcome>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub stream: String,
    pub is_acknowledged: bool,
}

/// What all writers share.
pub struct Desk {
    pub to: SocketAddr,
    pub record: Arc<Record>,
    pub is_over: AtomicBool,
    pub outcomes: Mutex<Outcomes>,
}

impl Desk {
    fn note(&self, name: String, stream: String, is_acknowledged: bool) {
        let outcome = Outcome {
            stream,
            is_acknowledged,
        };
        self.outcomes.lock().unwrap().insert(name, outcome);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

/// Writes to these streams in turn, a process for each write.
pub fn curl(desk: &Arc<Desk>, name: String, streams: Vec<String>, pause: Duration, token: String) -> JoinHandle<()> {
    let desk = Arc::clone(desk);
    thread::spawn(move || {
        let mut next = Instant::now();
        for (number, stream) in streams.iter().cycle().enumerate() {
            if desk.is_over() {
                return;
            }
            let write = format!("{name}-{number:06}");
            let is_acknowledged = curl_once(&desk, stream, &write, &token);
            desk.note(write, stream.clone(), is_acknowledged);
            next = (next + pause).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    })
}

fn curl_once(desk: &Desk, stream: &str, write: &str, token: &str) -> bool {
    let started = Instant::now();
    let output = peers::command("curl")
        .args(["-sS", "-i", "--noproxy", "*", "--max-time", "30"])
        .args(["-w", "\n%{http_code} %{time_total}"])
        .args(["-H", "content-type: application/json"])
        .args(["-H", &format!("authorization: Bearer {token}")])
        .args(["--data-binary", &format!("[{{\"write\":\"{write}\"}}]")])
        .arg(format!("http://{}{BASE}/{stream}", desk.to))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let (status, seconds) = said
        .lines()
        .last()
        .and_then(|line| line.split_once(' '))
        .unwrap_or_default();
    let status = status.parse().unwrap_or(0);
    if output.status.success() && (200..300).contains(&status) {
        desk.record
            .wrote(started, Duration::from_secs_f64(seconds.parse().unwrap()));
        return true;
    }
    let kind = match output.status.success() {
        true => failure(status, &said),
        false => Failure::Connection,
    };
    let reason = String::from_utf8_lossy(&output.stderr);
    desk.record.failed(
        kind,
        "write by curl",
        &format!("{write}: {} {}", said.trim(), reason.trim()),
    );
    false
}

/// The gem in a process of its own, which ends when its standard input does.
pub struct Gem {
    child: Child,
    reports: Option<JoinHandle<()>>,
}

impl Gem {
    /// Writes to these streams from several threads.
    pub fn start(desk: &Arc<Desk>, issuer: &Issuer, streams: &[String], pause: Duration, threads: usize) -> Self {
        let gem = Path::new(env!("CARGO_MANIFEST_DIR")).join("gem");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fault/deploys/gem_writer.rb");
        let mut command = Command::new(gem.join("script/run"));
        command
            .current_dir(&gem)
            .args(["bundle", "exec", "ruby"])
            .arg(script)
            .arg(format!("http://{}{BASE}", desk.to))
            .arg(pause.as_secs_f64().to_string())
            .arg(threads.to_string())
            .args(streams)
            .env("BUNDLE_GEMFILE", gem.join("Gemfile"))
            .env("DURABLE_STREAMS_BINARY", super::super::support::server::BIN)
            .env("DUMMY_SIGNING_KEY", issuer.private_pem())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let desk = Arc::clone(desk);
        let reports = thread::spawn(move || {
            for line in lines {
                report(&desk, &line.unwrap());
            }
        });
        Self {
            child,
            reports: Some(reports),
        }
    }

    pub fn stop(mut self) {
        drop(self.child.stdin.take());
        self.reports.take().unwrap().join().unwrap();
        assert!(self.child.wait().unwrap().success(), "the gem's writer failed");
    }
}

impl Drop for Gem {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line of the gem's writer: the write, its stream, and how many seconds it took or why it
/// failed.
fn report(desk: &Desk, line: &str) {
    let parts: Vec<&str> = line.splitn(4, ' ').collect();
    let [result, write, stream, rest] = parts[..] else {
        panic!("the gem's writer said {line:?}");
    };
    if result == "wrote" {
        let took = Duration::from_secs_f64(rest.parse().unwrap());
        desk.record.wrote(Instant::now() - took, took);
    } else {
        let kind = match rest.contains("ConnectionError") {
            true => Failure::Connection,
            false => Failure::Refused,
        };
        desk.record.failed(kind, "write by the gem", rest);
    }
    desk.note(write.to_owned(), stream.to_owned(), result == "wrote");
}
