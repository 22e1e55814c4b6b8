//! SIGKILL at any moment: acknowledged data is there, complete, once and in order.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    Server, Setup, amount,
    owned::Owned,
    shared::{self, Line},
    support::http::Connection,
    support::rng::TestRng,
};

const WRITERS: usize = 4;

/// Kills before a directory is replaced by a new one.
const LIFE: u64 = 12;

/// Kills for each mode; `DS_TEST_KILLS` overrides it.
const KILLS: u64 = 12;

struct Writer {
    rng: TestRng,
    lines: Vec<Line>,
    owned: Owned,
}

impl Writer {
    fn new(number: usize, seed: u64) -> Self {
        Self {
            rng: TestRng::new(seed ^ number as u64),
            lines: Line::all(number),
            owned: Owned::new(number),
        }
    }

    fn write(&mut self, server: &Server, acknowledged: impl Fn()) {
        let Ok(mut connection) = Connection::try_open(server.public, None) else {
            return;
        };
        loop {
            let done = if self.rng.one_in(2) {
                let line = usize::try_from(self.rng.below(self.lines.len() as u64)).unwrap();
                self.lines[line].append(server, &mut connection, &mut self.rng)
            } else {
                self.owned.act(server, &mut connection, &mut self.rng)
            };
            match done {
                Ok(()) => acknowledged(),
                Err(_) => return,
            }
        }
    }
}

/// Prints the seed on failure.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("chance began with DS_TEST_SEED={}", self.0);
        }
    }
}

fn survives_kills(mode: &str) {
    let seed = Seed(super::seed());
    let mut left = amount("DS_TEST_KILLS", KILLS);
    for life in 0.. {
        let kills = left.min(LIFE);
        if kills == 0 {
            break;
        }
        live(mode, seed.0.wrapping_add(life * 7919), kills);
        left -= kills;
    }
}

/// The life of one directory.
fn live(mode: &str, seed: u64, kills: u64) {
    let setup = Setup::new().on_disk(mode).with("limits.max_stream_bytes", 0);
    let mut rng = TestRng::new(seed);
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();
    let server = setup.start();
    shared::create(&server);
    server.kill();
    for _ in 0..kills {
        if rng.one_in(5) {
            kill_while_starting(&setup, &mut rng);
        }
        let server = setup.start();
        verify(&server, &mut writers);
        kill_while_writing(&server, &mut writers, &mut rng);
    }
    let server = setup.start();
    verify(&server, &mut writers);
    server.stop();
    verify(&setup.start(), &mut writers);
}

fn verify(server: &Server, writers: &mut [Writer]) {
    shared::verify(server, writers.iter_mut().flat_map(|writer| &mut writer.lines));
    for writer in writers {
        writer.lines.iter_mut().for_each(|line| line.retry(server));
        writer.owned.verify(server);
    }
}

/// Kills the server shortly after a number of acknowledgements.
fn kill_while_writing(server: &Server, writers: &mut [Writer], rng: &mut TestRng) {
    let (enough, moment) = (1 + rng.below(400), Duration::from_micros(rng.below(4_000)));
    let acknowledged = AtomicU64::new(0);
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    std::thread::scope(|scope| {
        for writer in writers {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                writer.write(server, || {
                    if acknowledged.fetch_add(1, Ordering::SeqCst) + 1 == enough {
                        std::thread::sleep(moment);
                        kill(pid, Signal::SIGKILL).unwrap();
                    }
                });
            });
        }
    });
}

/// Kills the server somewhere between its start and its first response.
fn kill_while_starting(setup: &Setup, rng: &mut TestRng) {
    let mut child = setup.command().spawn().unwrap();
    std::thread::sleep(Duration::from_micros(rng.below(60_000)));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn acid_loses_nothing_acknowledged() {
    survives_kills("acid");
}

#[test]
fn file_durable_loses_nothing_acknowledged() {
    survives_kills("file-durable");
}

#[test]
fn file_fast_loses_nothing_acknowledged() {
    survives_kills("file-fast");
}
