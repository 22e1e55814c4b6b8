//! Servers: the built binary in a temporary directory.

use std::{
    collections::BTreeMap,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    http::{Request, escape},
    live::Sse,
    log::Log,
    now,
    tokens::{AUDIENCE, ISSUER, Issuer, client, server},
    until,
};

pub const BIN: &str = env!("CARGO_BIN_EXE_durable-streams-server");
pub const BASE: &str = "/v1/stream";

/// How to start a server; reusable.
#[derive(Clone)]
pub struct Setup {
    pub dir: Arc<TempDir>,
    pub variables: BTreeMap<String, String>,
    pub arguments: Vec<String>,
    pub issuer: Issuer,
    gated: bool,
    descriptors: Option<u32>,
}

impl Setup {
    /// A memory store without authentication.
    pub fn new() -> Self {
        let mut setup = Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            variables: BTreeMap::new(),
            arguments: Vec::new(),
            issuer: Issuer::new(7),
            gated: false,
            descriptors: None,
        };
        setup.variable("DS_SERVER__BIND_ADDRESS", "127.0.0.1:0");
        setup.variable("RUST_LOG", "info");
        setup
    }

    pub fn variable(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets a configuration key, such as `limits.max_streams`.
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        let name = format!("DS_{}", key.replace('.', "__").to_uppercase());
        self.variable(&name, &value.to_string());
        self
    }

    pub fn acid(self) -> Self {
        self.on_disk("acid")
    }

    /// Sets the storage mode, such as `file-durable`.
    pub fn on_disk(self, mode: &str) -> Self {
        let data = self.data_dir();
        self.with("storage.mode", mode).with("storage.data_dir", data.display())
    }

    /// Limits open files, which include connections.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// With authentication.
    pub fn gated(mut self) -> Self {
        self.gated = true;
        std::fs::write(self.key_file(), self.issuer.public_pem()).unwrap();
        let key = self.key_file();
        self.with("auth.verify_key", key.display())
            .with("auth.issuer", ISSUER)
            .with("auth.audience", AUDIENCE)
    }

    pub fn internal(self, allowed: &str) -> Self {
        self.with("internal.bind", "127.0.0.1")
            .with("internal.port", 0)
            .with("internal.allowed_ips", allowed)
    }

    pub fn logging(mut self, filter: &str, format: &str) -> Self {
        self.variable("RUST_LOG", filter);
        self.with("observability.format", format)
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join("verify_key.pem")
    }

    pub fn command(&self) -> Command {
        let mut command = match self.descriptors {
            None => Command::new(BIN),
            Some(most) => {
                let mut shell = Command::new("sh");
                let limited = format!("ulimit -n {most}; exec \"$0\" \"$@\"");
                shell.args(["-c", &limited, BIN]);
                shell
            }
        };
        command.args(&self.arguments);
        self.configure(&mut command);
        command
    }

    /// Sets up a command that will become the server: directory, environment and pipes.
    pub fn configure(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    #[track_caller]
    pub fn start(&self) -> Server {
        let server = self.launch();
        server.log.wait_for("serving");
        server
    }

    #[track_caller]
    pub fn launch(&self) -> Server {
        self.spawn_with(self.command())
    }

    /// Starts it by this command and waits until it listens.
    #[track_caller]
    pub fn spawn_with(&self, mut command: Command) -> Server {
        let mut child = command.spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        let public = log.address("public");
        let internal = self
            .variables
            .contains_key("DS_INTERNAL__PORT")
            .then(|| log.address("internal"));
        Server {
            child,
            log,
            public,
            internal,
            issuer: self.issuer.clone(),
            gated: self.gated,
            dir: Arc::clone(&self.dir),
        }
    }

    /// Runs it until it exits by itself; returns the exit code, standard output and standard error.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.command();
        command.args(arguments);
        run(command)
    }
}

/// Runs a command that must exit by itself.
#[track_caller]
pub fn run(mut command: Command) -> (i32, String, String) {
    let mut child = command.spawn().unwrap();
    let (out, error) = (text_of(child.stdout.take()), text_of(child.stderr.take()));
    let mut status = None;
    until("the command to exit", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    (
        status.unwrap().code().unwrap_or(-1),
        out.join().unwrap(),
        error.join().unwrap(),
    )
}

/// Reads the pipe concurrently, so that the writer never blocks.
fn text_of(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    let mut pipe = pipe.unwrap();
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

/// A running server, killed on drop.
pub struct Server {
    child: Child,
    pub log: Log,
    pub public: SocketAddr,
    internal: Option<SocketAddr>,
    pub issuer: Issuer,
    gated: bool,
    dir: Arc<TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let text = self.log.text();
            let from = text.len().saturating_sub(4000);
            eprintln!("the server's log:\n{}", text.get(from..).unwrap_or(&text));
        }
    }
}

impl Server {
    #[track_caller]
    pub fn internal(&self) -> SocketAddr {
        self.internal.expect("set up with an internal listener")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A server token.
    pub fn server_token(&self) -> String {
        self.issuer.token(&server(now()))
    }

    pub fn client_token(&self, stream: &str, permissions: &[&str]) -> String {
        self.issuer.token(&client(now(), stream, permissions))
    }

    /// A request for this exact path, without a token.
    pub fn raw(&self, method: &str, target: &str) -> Request {
        Request::new(self.public, method, target)
    }

    /// A request for a stream, with a server token if the gate is on. `name` is used as it is and
    /// may contain a query.
    pub fn request(&self, method: &str, name: &str) -> Request {
        let request = self.raw(method, &format!("{BASE}/{name}"));
        if self.gated {
            request.token(&self.server_token())
        } else {
            request
        }
    }

    pub fn put(&self, name: &str) -> Request {
        self.request("PUT", name)
    }

    pub fn post(&self, name: &str) -> Request {
        self.request("POST", name)
    }

    pub fn get(&self, name: &str) -> Request {
        self.request("GET", name)
    }

    pub fn head(&self, name: &str) -> Request {
        self.request("HEAD", name)
    }

    pub fn delete(&self, name: &str) -> Request {
        self.request("DELETE", name)
    }

    pub fn fork(&self, name: &str, source: &str) -> Request {
        self.put(name).header("stream-forked-from", &format!("{BASE}/{source}"))
    }

    #[track_caller]
    pub fn text_stream(&self, name: &str, content: &str) -> String {
        self.put(name).text(content).send().expect(201).next_offset()
    }

    #[track_caller]
    pub fn content(&self, name: &str) -> String {
        self.get(name).send().expect(200).text()
    }

    #[track_caller]
    pub fn sse(&self, name: &str, offset: &str) -> Sse {
        Sse::open(&self.get(&format!("{name}?live=sse&offset={}", escape(offset))))
    }

    pub fn metrics(&self) -> String {
        let to = self.internal.unwrap_or(self.public);
        let request = Request::new(to, "GET", "/metrics");
        let answer = if self.internal.is_none() && self.gated {
            request.token(&self.server_token()).send()
        } else {
            request.send()
        };
        answer.expect(200).text()
    }

    /// A metric's value; 0 if absent.
    pub fn metric(&self, name: &str) -> f64 {
        metric_in(&self.metrics(), name)
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let arguments = [format!("-{signal}"), self.child.id().to_string()];
        assert!(Command::new("kill").args(arguments).status().unwrap().success());
    }

    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server to exit", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Sends SIGTERM and waits for the exit.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.wait().code(), Some(0), "{}", self.log.text());
    }

    /// Sends SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Resident memory in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// Peak resident memory in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A log line in JSON format.
pub fn json_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// A metric's value in the text of all; 0 if absent.
pub fn metric_in(metrics: &str, name: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}
