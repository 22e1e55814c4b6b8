//! This project's server beside the official Rust server (crate `durable-streams`) in one run on
//! one machine: server CPU per operation and memory, and each figure as a share of the official's.
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
mod hyper_reference;
mod process;
mod report;
mod work;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tempfile::TempDir;

use crate::{
    contender::Contender,
    process::Server,
    report::{OFFICIAL, Report},
    work::{Append, Created, Idle, Outcome, Read, Sse},
};

pub const MIB: usize = 1024 * 1024;
const PEER_VERSION: &str = "0.1.5";
const WORKLOADS: &[&str] = &["append", "append_json", "read1k", "read1m", "sse", "idle"];

/// Server CPU per operation, beside the official Rust server.
#[derive(Parser)]
#[command(
    after_help = "Workloads: append, append_json, read1k, read1m, sse, idle. All but append_json run by default."
)]
struct Options {
    /// What to measure.
    workloads: Vec<String>,
    /// Rounds of each workload, in each of which every server has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Idle streams to create (or as many as are made in 20 s).
    #[arg(long, default_value_t = 100_000)]
    streams: usize,
    /// Backends of ours.
    #[arg(long, value_delimiter = ',', default_value = "memory,acid,file-durable")]
    backends: Vec<String>,
    /// The official server's binary; installed to target/peer when not given.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Another build of ours than the one just made.
    #[arg(long)]
    ours: Option<PathBuf>,
    /// The official server a second time, to see how far two measurements of one thing differ.
    #[arg(long)]
    control: bool,
    /// Where the figures go as JSON.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Used by this program for the bare hyper server.
    #[arg(long, hide = true)]
    reference_server: Option<u16>,
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
    if let Some(port) = options.reference_server {
        return match runtime.block_on(hyper_reference::serve(port)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    match runtime.block_on(run(options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Outcome<bool> {
    for workload in &options.workloads {
        if !WORKLOADS.contains(&workload.as_str()) {
            return Err(format!(
                "unknown workload {workload}; there are {}",
                WORKLOADS.join(", ")
            ));
        }
    }
    let wanted = |name: &str| match options.workloads.as_slice() {
        [] => name != "append_json",
        workloads => workloads.iter().any(|workload| workload == name),
    };
    raise_descriptor_limit();
    let dir = TempDir::with_prefix("durable-streams-bench-").map_err(|e| format!("no temporary directory: {e}"))?;
    let contenders = contenders(&options, dir.path())?;
    let mut bench = Bench {
        contenders,
        dir,
        rounds: options.rounds.max(1),
        report: Report::default(),
    };

    if wanted("append") {
        bench.append("append", &Append::binary).await;
    }
    if wanted("append_json") {
        bench.append("append_json", &Append::json).await;
    }
    if wanted("read1k") {
        bench.read("read1k", &Read::small()).await;
    }
    if wanted("read1m") {
        bench.read("read1m", &Read::large()).await;
    }
    if wanted("sse") {
        bench.sse().await;
    }
    if wanted("idle") {
        bench.idle(options.streams).await;
    }

    bench.report.print();
    let output = options.output.unwrap_or_else(|| {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_secs());
        manifest_dir().join(format!("benches/results/side_by_side-{seconds}.json"))
    });
    bench
        .report
        .write(&output)
        .map_err(|e| format!("{}: {e}", output.display()))?;
    println!("\n{}", output.display());
    Ok(!bench.report.has_problems())
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// SSE readers and idle streams may need many; servers inherit the limit.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn contenders(options: &Options, dir: &Path) -> Outcome<Vec<Contender>> {
    let ours = options
        .ours
        .clone()
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_durable-streams-server").into());
    let peer = match &options.peer {
        Some(path) => path.clone(),
        None => install_peer()?,
    };
    let this = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let verify_key = dir.join("verify_key.pem");
    let token = make_token(&verify_key)?;

    let mut contenders = vec![Contender::official(OFFICIAL, &peer)];
    for backend in &options.backends {
        let name = ["memory", "acid", "file-fast", "file-durable"]
            .into_iter()
            .find(|name| name == backend);
        let name = name.ok_or_else(|| format!("unknown backend {backend}"))?;
        contenders.push(Contender::ours(name, name, &ours, &verify_key, &token));
    }
    if options.control {
        contenders.push(Contender::official("official again", &peer));
    }
    contenders.push(Contender::hyper(&this));
    Ok(contenders)
}

/// The official server, built from the registry once.
fn install_peer() -> Outcome<PathBuf> {
    let root = manifest_dir().join("target/peer");
    let binary = root.join("bin/durable-streams-server");
    if !binary.exists() {
        println!(
            "installing durable-streams {PEER_VERSION} to {} (about a minute)",
            root.display()
        );
        let status = Command::new(env!("CARGO"))
            .args([
                "install",
                "durable-streams",
                "--version",
                PEER_VERSION,
                "--locked",
                "--quiet",
                "--root",
            ])
            .arg(&root)
            .status()
            .map_err(|e| format!("cargo install: {e}"))?;
        if !status.success() {
            return Err(format!("cargo install durable-streams: {status}"));
        }
    }
    Ok(binary)
}

/// A server token for the whole run, and the key file to verify it by.
fn make_token(verify_key: &Path) -> Outcome<String> {
    let explain = |error: &dyn std::fmt::Display| format!("cannot make a token: {error}");
    let pair = rcgen::KeyPair::generate().map_err(|e| explain(&e))?;
    std::fs::write(verify_key, pair.public_key_pem()).map_err(|e| explain(&e))?;
    let key = jsonwebtoken::EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).map_err(|e| explain(&e))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|e| explain(&e))?
        .as_secs();
    let claims = serde_json::json!({ "server": "rails", "iat": now, "exp": now + 3600 });
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    jsonwebtoken::encode(&header, &claims, &key).map_err(|e| explain(&e))
}

struct Bench {
    contenders: Vec<Contender>,
    dir: TempDir,
    rounds: usize,
    report: Report,
}

impl Bench {
    /// Starts every contender afresh; those that do not start are left out and named.
    async fn start(&mut self, workload: &str, stores_only: bool) -> Vec<(Contender, Server)> {
        println!("{workload} …");
        let mut servers = Vec::new();
        for contender in self
            .contenders
            .iter()
            .filter(|contender| contender.is_store() || !stores_only)
        {
            let dir = self.dir.path().join(workload).join(contender.name);
            match Server::start(contender, &dir).await {
                Ok(server) => servers.push((contender.clone(), server)),
                Err(error) => self.report.problem(workload, contender, &error),
            }
        }
        servers
    }

    async fn stop(&mut self, workload: &str, servers: Vec<(Contender, Server)>) {
        for (_, server) in servers {
            server.stop().await;
        }
        let _ = std::fs::remove_dir_all(self.dir.path().join(workload));
    }

    async fn append(&mut self, name: &str, new: &dyn Fn() -> Append) {
        let servers = self.start(name, true).await;
        let mut ready = Vec::new();
        for (contender, server) in &servers {
            let work = new();
            match work.prepare(contender, server).await {
                Ok(()) => ready.push((contender, server, work)),
                Err(error) => self.report.problem(name, contender, &error),
            }
        }
        for round in 0..self.rounds {
            for (contender, server, work) in &ready {
                if let Err(error) = work.round(contender, server, round, &mut self.report).await {
                    self.report.problem(name, contender, &error);
                }
            }
        }
        for (contender, server, work) in &ready {
            if let Err(error) = work.check(contender, server).await {
                self.report.problem(name, contender, &error);
            }
        }
        self.stop(name, servers).await;
    }

    async fn read(&mut self, name: &str, work: &Read) {
        let servers = self.start(name, false).await;
        let mut ready = Vec::new();
        for (contender, server) in &servers {
            match work.prepare(contender, server).await {
                Ok(()) => ready.push((contender, server)),
                Err(error) => self.report.problem(name, contender, &error),
            }
        }
        for round in 0..self.rounds {
            for (contender, server) in &ready {
                if let Err(error) = work.round(contender, server, round, &mut self.report).await {
                    self.report.problem(name, contender, &error);
                }
            }
        }
        self.stop(name, servers).await;
    }

    async fn sse(&mut self) {
        let servers = self.start("sse", false).await;
        let mut ready = Vec::new();
        for (contender, server) in &servers {
            match Sse.prepare(contender, server).await {
                Ok(()) => ready.push((contender, server)),
                Err(error) => self.report.problem("sse", contender, &error),
            }
        }
        for round in 0..self.rounds {
            for (contender, server) in &ready {
                if let Err(error) = Sse.round(contender, server, round, &mut self.report).await {
                    self.report.problem("sse", contender, &error);
                }
            }
        }
        self.stop("sse", servers).await;
    }

    async fn idle(&mut self, streams: usize) {
        let servers = self.start("idle", true).await;
        let work = Idle { streams };
        for (contender, server) in servers {
            match work.run(&contender, &server, &mut self.report).await {
                Ok(created) => {
                    server.stop().await;
                    if contender.is_persistent()
                        && let Err(error) = self.restart(&contender, &created).await
                    {
                        self.report.problem("restart", &contender, &error);
                    }
                }
                Err(error) => self.report.problem("idle", &contender, &error),
            }
        }
        let _ = std::fs::remove_dir_all(self.dir.path().join("idle"));
    }

    /// How fast and how large a server starts that has all those streams.
    async fn restart(&mut self, contender: &Contender, created: &Created) -> Outcome {
        let dir = self.dir.path().join("idle").join(contender.name);
        let request = contender.get(&format!("{}?offset=-1", created.path));
        let (server, took) = Server::start_until(contender, &dir, &request).await?;
        self.report
            .add("restart", contender.name, 0, took.as_secs_f64() * 1000.0);
        let memory = server.memory()?.saturating_sub(created.memory_before);
        let each = memory as f64 / created.count as f64;
        self.report.add("idle_memory_restarted", contender.name, 0, each);
        server.stop().await;
        Ok(())
    }
}
