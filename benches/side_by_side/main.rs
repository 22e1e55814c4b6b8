//! This project's server beside the official Rust server (crate `durable-streams`) in one run on
//! one machine. `docs/benchmarks.md` says what a row is and how to read it.
//!
//! `cargo bench --bench side_by_side -- --help`

#![allow(missing_docs, unreachable_pub)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::disallowed_methods
)]

mod client;
mod contender;
mod credentials;
mod lineup;
mod machine;
mod process;
mod reference;
mod report;
mod row;
mod runner;
mod statistics;
mod table;
mod work;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    lineup::Lineup,
    machine::{MAX_LOAD, Machine, load},
    reference::ReferenceOptions,
    report::Report,
    row::{ROWS, Row, Settings},
    runner::{Bench, Rounds},
    work::Outcome,
};

pub const MIB: usize = 1024 * 1024;
/// Descriptors that a server and this program need besides their readers' connections.
const SPARE_DESCRIPTORS: u64 = 1000;

/// Server CPU, latency and memory beside the official Rust server. See docs/benchmarks.md.
#[derive(Parser)]
pub struct Options {
    /// Rows to run; all by default.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(ROWS.iter().map(|row| row.name)))]
    rows: Vec<String>,
    /// Rounds that each row has at least.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Rounds after which a row ends although its spread is not small.
    #[arg(long, default_value_t = 7)]
    max_rounds: usize,
    /// The spread of the ratios (interquartile range over median) that is small, in percent.
    #[arg(long, default_value_t = 5.0)]
    spread: f64,
    /// Backends of ours. Rows with one contender of ours take the first.
    #[arg(long, value_delimiter = ',', default_value = "memory,acid,file-durable")]
    backends: Vec<String>,
    /// A database of its own for the postgres backend. What is written stays in it.
    #[arg(long, env = "BENCH_POSTGRES_URL", hide_env_values = true)]
    postgres: Option<String>,
    /// Another build of ours, such as the one before a change, to compare with in the same run.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Another build of ours in place of the one just made.
    #[arg(long)]
    ours: Option<PathBuf>,
    /// The official server's binary; installed to target/peer when not given.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// SSE readers of sse15k.
    #[arg(long, default_value_t = 15_000)]
    readers: usize,
    /// Idle streams to create (or as many as are made in 10 s).
    #[arg(long, default_value_t = 100_000)]
    streams: usize,
    /// Seconds to wait at most for the load average to fall, after a build for example.
    #[arg(long, default_value_t = 180)]
    wait: u64,
    /// JSON file for all samples; benches/results/ by default.
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    reference: ReferenceOptions,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = match options.reference.port() {
        Some(port) => runtime
            .block_on(options.reference.serve(port))
            .map(|()| true)
            .map_err(|error| error.to_string()),
        None => runtime.block_on(run(options)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns true if the figures are valid and nothing of ours failed.
async fn run(options: Options) -> Outcome<bool> {
    let rows: Vec<&'static Row> = if options.rows.is_empty() {
        ROWS.iter().collect()
    } else {
        options.rows.iter().filter_map(|name| Row::named(name)).collect()
    };
    let dir = TempDir::with_prefix("durable-streams-bench-").map_err(|e| format!("no temporary directory: {e}"))?;
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs());
    let readers = possible_readers(options.readers);
    let settings = Settings {
        tag: seconds.to_string(),
        readers,
    };
    let lineup = Lineup::new(&options, &settings, dir.path())?;
    let load = wait_for_quiet(Duration::from_secs(options.wait)).await?;
    let mut report = Report::new(Machine::read(), load, options.spread / 100.0);
    report.programs = lineup.describe();
    report.absent.clone_from(&lineup.absent);
    if readers < options.readers {
        report.remark(format!(
            "sse15k: {readers} readers in place of {}, by the limit of file descriptors (ulimit -Hn)",
            options.readers
        ));
    }
    let rounds = Rounds {
        min: options.rounds.max(1),
        max: options.max_rounds.max(options.rounds).max(1),
        spread: options.spread / 100.0,
    };
    let mut bench = Bench {
        lineup,
        settings,
        streams: options.streams,
        rounds,
        started: Instant::now(),
        dir,
        report,
    };
    for row in rows {
        bench.run(row).await;
    }
    let output = options
        .output
        .unwrap_or_else(|| manifest_dir().join(format!("benches/results/side_by_side-{seconds}.json")));
    bench
        .report
        .write(&output)
        .map_err(|e| format!("{}: {e}", output.display()))?;
    eprintln!("{}", output.display());
    bench.report.print();
    Ok(bench.report.problems().is_empty() && bench.report.objections().is_empty())
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Raises the limit of file descriptors, which servers inherit, and returns how many of the
/// readers fit into it.
fn possible_readers(wanted: usize) -> usize {
    let needed = wanted as u64 + SPARE_DESCRIPTORS;
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Only root may raise the hard limit; others get as far as it.
        let raised = needed > hard && setrlimit(Resource::RLIMIT_NOFILE, needed, needed).is_ok();
        if !raised {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        }
    }
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(SPARE_DESCRIPTORS, |(soft, _)| soft);
    let possible = limit.saturating_sub(SPARE_DESCRIPTORS).max(1);
    wanted.min(usize::try_from(possible).unwrap_or(usize::MAX))
}

/// Waits while the load average is too high and falling. Returns it.
async fn wait_for_quiet(longest: Duration) -> Outcome<f64> {
    const PAUSE: Duration = Duration::from_secs(10);
    let end = Instant::now() + longest;
    let mut seen = load()?;
    while seen > MAX_LOAD && Instant::now() + PAUSE <= end {
        eprintln!("load average {seen:.2}, waiting for {MAX_LOAD:.2}");
        sleep(PAUSE).await;
        let now = load()?;
        if now >= seen {
            break;
        }
        seen = now;
    }
    let seen = load()?;
    if seen > MAX_LOAD {
        eprintln!("NOT VALID from the start: load average {seen:.2}, limit {MAX_LOAD:.2}");
    }
    Ok(seen)
}
