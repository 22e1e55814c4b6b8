//! Compares this project's server with the official Rust server (crate `durable-streams`) in one
//! run on one machine. `docs/benchmarks.md` describes the rows. Usage: `cargo bench --bench
//! side_by_side -- --help`

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
mod database;
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
/// Descriptors needed besides the readers' connections.
const SPARE_DESCRIPTORS: u64 = 1000;

/// Compares server CPU, latency and memory with the official Rust server. See docs/benchmarks.md.
#[derive(Parser)]
pub struct Options {
    /// Rows to run (default: all).
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(ROWS.iter().map(|row| row.name)))]
    rows: Vec<String>,
    /// Minimum number of rounds per row.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Maximum number of rounds per row.
    #[arg(long, default_value_t = 7)]
    max_rounds: usize,
    /// Spread of the ratios (interquartile range over median, in percent) at which a row ends.
    #[arg(long, default_value_t = 5.0)]
    spread: f64,
    /// Our backends. Rows with a single contender of ours use the first.
    #[arg(long, value_delimiter = ',', default_value = "memory,acid,file-durable")]
    backends: Vec<String>,
    /// A dedicated database for the postgres backend (default: those of a PostgreSQL server that the
    /// benchmark starts, if PostgreSQL is installed). Its streams are not deleted.
    #[arg(long, env = "BENCH_POSTGRES_URL", hide_env_values = true)]
    postgres: Option<String>,
    /// Leaves PostgreSQL out.
    #[arg(long, conflicts_with = "postgres")]
    without_postgres: bool,
    /// Another build of ours to compare with in the same run, such as an earlier one.
    #[arg(long)]
    against: Option<PathBuf>,
    /// Another build of ours instead of the current one.
    #[arg(long)]
    ours: Option<PathBuf>,
    /// The official server's binary (default: installed to target/peer).
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Number of SSE readers in sse15k.
    #[arg(long, default_value_t = 15_000)]
    readers: usize,
    /// Number of idle streams to create, within 10 s.
    #[arg(long, default_value_t = 100_000)]
    streams: usize,
    /// Maximum wait in seconds for the load average to fall.
    #[arg(long, default_value_t = 180)]
    wait: u64,
    /// JSON file for all samples (default: in benches/results/).
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    reference: ReferenceOptions,
    /// Passed by `cargo bench`.
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

/// Returns true if the figures are valid and ours did not fail.
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

/// Raises the limit of file descriptors, which servers inherit; returns the number of readers that
/// fit.
fn possible_readers(wanted: usize) -> usize {
    let needed = wanted as u64 + SPARE_DESCRIPTORS;
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Only root may raise the hard limit; others stop there.
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
