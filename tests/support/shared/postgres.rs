//! Real PostgreSQL servers.
//!
//! [`Postgres::shared`] is one server for each test binary, with a [`Database`] for each test.
//! [`Postgres::start`] is a server of the test's own, to stop, kill or promote.
//!
//! A keeper process stops the server and removes its directory when the pipe to this process
//! closes. So nothing is left behind even if the test binary is killed.

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// The superuser.
pub const USER: &str = "postgres";
/// Its password. Connections over TCP need it; those over the Unix socket do not.
pub const PASSWORD: &str = "Pa55word-of-tests";

/// A directory of PostgreSQL's programs, instead of Debian's newest.
const BIN_VARIABLE: &str = "DURABLE_STREAMS_POSTGRES_BIN";

/// How PostgreSQL stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ends connections and writes a checkpoint.
    Fast,
    /// As in a crash: the next start recovers from the log.
    Immediate,
}

/// A running PostgreSQL server, removed on drop.
pub struct Postgres {
    dir: PathBuf,
    port: u16,
    /// Ends the server once its standard input closes.
    keeper: Child,
    databases: AtomicU64,
}

impl Postgres {
    /// The server of this test binary.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(&[]));
        &SHARED
    }

    /// A new server with lines for `postgresql.conf`, such as `("fsync", "off")`.
    pub fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_in(new_directory(), settings)
    }

    /// The same with its data on a disk, where a sync costs what it costs in production.
    pub fn start_on_disk(settings: &[(&str, &str)]) -> Self {
        Self::start_in(new_directory_on_disk(), settings)
    }

    fn start_in(dir: PathBuf, settings: &[(&str, &str)]) -> Self {
        fs::write(dir.join("password"), PASSWORD).expect("the password file");
        fs::set_permissions(dir.join("password"), fs::Permissions::from_mode(0o644)).expect("its permissions");
        program("initdb")
            .args(["--encoding=UTF8", "--locale=C", "--no-sync", "--username", USER])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256"])
            .arg(format!("--pwfile={}", dir.join("password").display()))
            .arg(format!("--pgdata={}", dir.join("data").display()))
            .succeed();
        Self::run(dir, settings)
    }

    /// A standby of this server, which follows it under the name `name`. The primary waits for it
    /// if its `synchronous_standby_names` has the name.
    pub fn standby(&self, name: &str, settings: &[(&str, &str)]) -> Self {
        let dir = new_directory();
        program("pg_basebackup")
            .args(["--checkpoint=fast", "--no-sync"])
            .arg(format!("--pgdata={}", dir.join("data").display()))
            .arg(format!(
                "--dbname=host={} port={} user={USER}",
                self.dir.display(),
                self.port
            ))
            .succeed();
        fs::write(dir.join("data/standby.signal"), "").expect("the mark of a standby");
        let upstream = format!(
            "host=127.0.0.1 port={} user={USER} password={PASSWORD} application_name={name}",
            self.port
        );
        let mut settings = settings.to_vec();
        settings.push(("primary_conninfo", &upstream));
        Self::run(dir, &settings)
    }

    /// Starts a prepared directory. Another process may take the free port first, so it tries several.
    fn run(dir: PathBuf, settings: &[(&str, &str)]) -> Self {
        let mut lines = format!(
            "\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nmax_connections = 300\n",
            dir.display()
        );
        for (key, value) in settings {
            lines.push_str(&format!("{key} = '{}'\n", value.replace('\'', "''")));
        }
        append(&dir.join("data/postgresql.conf"), &lines);
        let mut server = Self {
            keeper: keeper(&dir),
            dir,
            port: 0,
            databases: AtomicU64::new(0),
        };
        for _ in 0..5 {
            server.port = free_port();
            let line = format!("port = {}\n", server.port);
            append(&server.dir.join("data/postgresql.conf"), &line);
            let started = control(&server.dir, &["start"]).status();
            if started.is_ok_and(|status| status.success()) {
                return server;
            }
        }
        panic!("PostgreSQL does not start:\n{}", server.log());
    }

    /// A new, empty database, dropped with the value.
    pub fn database(&self) -> Database<'_> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.sql("postgres", &format!("create database {name}"));
        Database { server: self, name }
    }

    /// The URL of a database, by TCP and with the password.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket, of `data` and of the `log`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process id of the server's first process.
    pub fn process_id(&self) -> u32 {
        let file = fs::read_to_string(self.dir.join("data/postmaster.pid")).expect("a running server");
        let line = file.lines().next().unwrap_or_default();
        line.parse().expect("a process id")
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Runs SQL as the superuser and returns what `psql` prints: a line for each row, with `|`
    /// between the columns.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = program("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--username", USER, "--dbname", database])
            .arg(format!("--host={}", self.dir.display()))
            .arg(format!("--port={}", self.port))
            .args(["--command", sql])
            .output();
        let output = output.unwrap_or_else(|error| panic!("psql: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        assert!(output.status.success(), "{sql}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    pub fn stop(&self, how: Stop) {
        let mode = match how {
            Stop::Fast => "--mode=fast",
            Stop::Immediate => "--mode=immediate",
        };
        control(&self.dir, &["stop", mode]).succeed();
    }

    /// Starts it again on the same port.
    pub fn start_again(&self) {
        control(&self.dir, &["start"]).succeed();
    }

    pub fn restart(&self, how: Stop) {
        self.stop(how);
        self.start_again();
    }

    /// Makes a standby the primary, with a new timeline.
    pub fn promote(&self) {
        control(&self.dir, &["promote"]).succeed();
    }

    /// Changes a setting and reloads the configuration.
    pub fn set(&self, key: &str, value: &str) {
        self.sql("postgres", &format!("alter system set {key} = '{value}'"));
        self.sql("postgres", "select pg_reload_conf()");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// An empty database of one test.
pub struct Database<'p> {
    server: &'p Postgres,
    name: String,
}

impl Database<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    pub fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let drop = format!("drop database if exists {} with (force)", self.name);
            self.server.sql("postgres", &drop);
        }
    }
}

/// The directory of PostgreSQL's programs.
pub fn bin_dir() -> PathBuf {
    find_bin_dir().unwrap_or_else(|| {
        panic!("PostgreSQL is missing: install the Debian package `postgresql`, or name its programs in {BIN_VARIABLE}")
    })
}

/// The same; `None`: PostgreSQL is not installed.
pub fn find_bin_dir() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os(BIN_VARIABLE) {
        return Some(PathBuf::from(given));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |dir: &Path| dir.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(|dir| number(dir));
    newest.map(|dir| dir.join("bin"))
}

/// One of PostgreSQL's programs. The server refuses to run as root, so root runs them as `postgres`.
fn program(name: &str) -> Command {
    let path = bin_dir().join(name);
    assert!(path.exists(), "{} does not exist", path.display());
    if !is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env"]);
    command.arg(path);
    command
}

fn control(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = program("pg_ctl");
    command
        .args(arguments)
        .args(["--wait", "--silent"])
        .arg(format!("--pgdata={}", dir.join("data").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if arguments.first() == Some(&"start") {
        command.arg(format!("--log={}", dir.join("log").display()));
        // PostgreSQL inherits it, and a test's output would not end before PostgreSQL.
        command.stderr(Stdio::null());
    }
    command
}

/// Waits for the end of this process, however it comes.
fn keeper(dir: &Path) -> Child {
    let script = r#"trap '' INT TERM HUP; cat >/dev/null; "$@" >/dev/null 2>&1; rm -rf "$0""#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(dir);
    let stop = control(dir, &["stop", "--mode=immediate"]);
    command.arg(stop.get_program()).args(stop.get_args());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().expect("a shell")
}

/// A new directory, in memory if possible: the cost of a sync is not under test.
fn new_directory() -> PathBuf {
    let made = tempfile::Builder::new().prefix("pg-").tempdir_in("/dev/shm");
    made.map_or_else(|_| new_directory_on_disk(), owned)
}

fn new_directory_on_disk() -> PathBuf {
    let made = tempfile::Builder::new().prefix("pg-").tempdir();
    owned(made.expect("a directory"))
}

/// A directory of the user whom PostgreSQL runs as. Its path is short, for the Unix socket.
fn owned(made: tempfile::TempDir) -> PathBuf {
    let dir = made.keep();
    if is_root() {
        Command::new("chown").arg("postgres:postgres").arg(&dir).succeed();
    }
    dir
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn append(file: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(file)
        .expect("a configuration file");
    file.write_all(text.as_bytes()).expect("writing it");
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

trait Succeed {
    fn succeed(&mut self);
}

impl Succeed for Command {
    fn succeed(&mut self) {
        let program = format!("{self:?}");
        let output = self.output().unwrap_or_else(|error| panic!("{program}: {error}"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {error}");
    }
}
