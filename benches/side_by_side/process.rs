//! Server processes: started, measured and stopped.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
        time::TimeVal,
    },
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use crate::{client::Request, contender::Contender, database::Cluster};

const MAX_START: Duration = Duration::from_secs(20);
const MAX_STOP: Duration = Duration::from_secs(30);
/// A server is idle when it uses less than `IDLE_CPU` in `IDLE_WINDOW`.
const IDLE_WINDOW: Duration = Duration::from_millis(40);
const IDLE_CPU: Duration = Duration::from_millis(1);
const MAX_SETTLING: Duration = Duration::from_secs(1);

/// A running contender: one process, or several that share a database.
pub struct Server {
    processes: Vec<Process>,
    database: Option<Arc<Cluster>>,
}

/// A process of a server with its own port and data.
struct Process {
    address: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a contender and waits until it answers.
    pub async fn start(contender: &Contender, dir: &Path) -> Result<Self, String> {
        let request = contender.get("/readyz");
        Self::answering(contender, dir, &request, contender.has_health_checks()).await
    }

    /// Starts it and waits for the first good answer to `request`, with how long that took.
    pub async fn start_until(contender: &Contender, dir: &Path, request: &Request) -> Result<(Self, Duration), String> {
        let started = Instant::now();
        let server = Self::answering(contender, dir, request, true).await?;
        Ok((server, started.elapsed()))
    }

    async fn answering(contender: &Contender, dir: &Path, request: &Request, good: bool) -> Result<Self, String> {
        let mut server = Self {
            processes: Vec::new(),
            database: contender.own_database(),
        };
        let url = contender.database_url();
        for number in 0..contender.processes() {
            let dir = match number {
                0 => dir.to_owned(),
                number => dir.join(number.to_string()),
            };
            let process = Process::spawn(contender, &dir, url.as_deref())?;
            server.processes.push(process.wait_for(contender, request, good).await?);
        }
        Ok(server)
    }

    /// The address of the first process.
    pub fn address(&self) -> SocketAddr {
        self.address_for(0)
    }

    /// The address for a connection: each process has its share of them.
    pub fn address_for(&self, connection: usize) -> SocketAddr {
        self.processes[connection % self.processes.len()].address
    }

    /// CPU time, user and system, of all threads including ended ones.
    pub fn cpu(&self) -> Result<Duration, String> {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// CPU time of the database, if it is of this program.
    pub fn database_cpu(&self) -> Option<Duration> {
        self.database.as_ref().map(|database| database.cpu())
    }

    /// The same once the server is idle, or after a second, so that deferred work counts.
    pub async fn cpu_when_idle(&self) -> Result<Duration, String> {
        let deadline = Instant::now() + MAX_SETTLING;
        let mut before = self.cpu()?;
        loop {
            sleep(IDLE_WINDOW).await;
            let now = self.cpu()?;
            if now - before < IDLE_CPU || Instant::now() > deadline {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Resident memory without file pages.
    pub fn memory(&self) -> Result<u64, String> {
        self.processes.iter().map(Process::memory).sum()
    }

    pub fn descriptors(&self) -> u64 {
        self.processes.iter().map(Process::descriptors).sum()
    }

    /// Stops it, and kills it if that fails.
    pub async fn stop(self) {
        for process in self.processes {
            process.stop().await;
        }
    }
}

impl Process {
    fn spawn(contender: &Contender, dir: &Path, url: Option<&str>) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let address = free_address().map_err(|e| format!("no free port: {e}"))?;
        let log = dir.join("server.log");
        let output = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let errors = output.try_clone().map_err(|e| format!("{}: {e}", log.display()))?;
        let mut command = Command::new(contender.binary());
        remove_settings(&mut command);
        contender
            .configure(&mut command, address, dir, url)
            .map_err(|e| format!("{}: {e}", dir.display()))?;
        let child = command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("{}: {e}", contender.binary().display()))?;
        Ok(Self { address, child, log })
    }

    async fn wait_for(mut self, contender: &Contender, request: &Request, good: bool) -> Result<Self, String> {
        let deadline = Instant::now() + MAX_START;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("stopped while starting ({status}): {}", self.last_log_line()));
            }
            if let Ok(mut connection) = contender.connect(self.address).await
                && let Ok(response) = connection.call(request, None).await
                && (response.status == 200 || !good)
            {
                return Ok(self);
            }
            if Instant::now() > deadline {
                return Err(format!("no good answer within {MAX_START:?}: {}", self.last_log_line()));
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn last_log_line(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("(no log)")
            .to_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn cpu(&self) -> Result<Duration, String> {
        cpu_clock(self.child.id()).ok_or_else(|| "cannot read the server's CPU clock, has it died?".to_owned())
    }

    fn memory(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let kibibytes = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        match (kibibytes("RssAnon:"), kibibytes("RssShmem:")) {
            (Some(anonymous), shared) => Ok((anonymous + shared.unwrap_or(0)) * 1024),
            (None, _) => Err(format!("{path} has no RssAnon, has the server died?")),
        }
    }

    fn descriptors(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, |entries| entries.count() as u64)
    }

    async fn stop(mut self) {
        let _ = kill(self.pid(), Signal::SIGTERM);
        let deadline = Instant::now() + MAX_STOP;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time, user and system, of all threads of a process, including ended ones.
pub fn cpu_clock(process: u32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(process.cast_signed()));
    clock.and_then(clock_gettime).map(Duration::from).ok()
}

/// Removes inherited settings from the environment.
pub fn remove_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("DS_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
}

/// CPU time of this program and all servers it started; `servers` are those still running.
pub fn cpu_of_all<'a>(servers: impl IntoIterator<Item = &'a Server>) -> Duration {
    let of = |who| {
        getrusage(who).map_or(Duration::ZERO, |usage| {
            time(usage.user_time()) + time(usage.system_time())
        })
    };
    let alive: Duration = servers.into_iter().filter_map(|server| server.cpu().ok()).sum();
    of(UsageWho::RUSAGE_SELF) + of(UsageWho::RUSAGE_CHILDREN) + alive
}

fn time(value: TimeVal) -> Duration {
    let micros = value.tv_sec() * 1_000_000 + value.tv_usec();
    Duration::from_micros(micros.unsigned_abs())
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
