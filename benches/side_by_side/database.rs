//! A PostgreSQL server of this program's own, and the CPU time that it uses.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{process::cpu_clock, work::Outcome};

#[allow(dead_code, clippy::expect_used, clippy::panic)]
#[path = "../../tests/support/shared/postgres.rs"]
mod postgres;

/// The kernel's unit of the times of ended processes.
const TICK: Duration = Duration::from_millis(10);

/// A running server, removed on drop. Its settings are PostgreSQL's defaults, and its data is on the
/// disk that the other contenders use.
pub struct Cluster {
    server: postgres::Postgres,
    process: u32,
    databases: AtomicU64,
}

impl Cluster {
    /// Starts it, if PostgreSQL is installed.
    pub fn start() -> Outcome<Arc<Self>> {
        if postgres::find_bin_dir().is_none() {
            return Err("PostgreSQL is not installed".into());
        }
        // A failure is a panic, as tests want it.
        let started = std::thread::spawn(|| postgres::Postgres::start_on_disk(&[])).join();
        let server = started.map_err(|_| "PostgreSQL did not start")?;
        Ok(Arc::new(Self {
            process: server.process_id(),
            server,
            databases: AtomicU64::new(0),
        }))
    }

    /// The URL of a new, empty database.
    pub fn new_database(&self) -> String {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.server.sql("postgres", &format!("create database {name}"));
        self.server.url(&name)
    }

    /// The URL of the database that every server has.
    pub fn any_database(&self) -> String {
        self.server.url("postgres")
    }

    /// CPU time, user and system, of all its processes including ended ones.
    pub fn cpu(&self) -> Duration {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Duration::ZERO;
        };
        let of_process = |id: u32| {
            let stat = parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)?;
            if id == self.process {
                return Some(cpu_clock(id)? + stat.reaped);
            }
            (stat.parent == self.process).then(|| cpu_clock(id)).flatten()
        };
        let ids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(of_process).sum()
    }
}

/// Fields of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    /// CPU time of its children that have ended.
    reaped: Duration,
}

fn parse(stat: &str) -> Option<Stat> {
    // The name of the program, in parentheses, may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        reaped: TICK * (ticks(13)? + ticks(14)?),
    })
}
