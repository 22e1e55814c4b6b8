//! Servers: the built binary, in a directory of its own.

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
    tokens::{AUDIENCE, ISSUER, Signatory, client, server},
    until,
};

pub const BIN: &str = env!("CARGO_BIN_EXE_durable-streams-server");
pub const BASE: &str = "/v1/stream";

/// How a server is to be started. May be started several times.
#[derive(Clone)]
pub struct Setup {
    pub dir: Arc<TempDir>,
    pub variables: BTreeMap<String, String>,
    pub arguments: Vec<String>,
    pub signatory: Signatory,
    gated: bool,
    descriptors: Option<u32>,
}

impl Setup {
    /// In memory and open to everybody.
    pub fn new() -> Self {
        let mut setup = Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            variables: BTreeMap::new(),
            arguments: Vec::new(),
            signatory: Signatory::new(7),
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

    /// Sets a key of the configuration, such as `limits.max_streams`.
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        let name = format!("DS_{}", key.replace('.', "__").to_uppercase());
        self.variable(&name, &value.to_string());
        self
    }

    /// On disk.
    pub fn acid(self) -> Self {
        self.on_disk("acid")
    }

    /// In a mode of the storage, such as `file-durable`.
    pub fn on_disk(self, mode: &str) -> Self {
        let data = self.data_dir();
        self.with("storage.mode", mode).with("storage.data_dir", data.display())
    }

    /// Allowed to open so many files, connections among them, and no more.
    pub fn descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Behind the gate.
    pub fn gated(mut self) -> Self {
        self.gated = true;
        std::fs::write(self.key_file(), self.signatory.public_pem()).unwrap();
        let key = self.key_file();
        self.with("auth.verify_key", key.display())
            .with("auth.issuer", ISSUER)
            .with("auth.audience", AUDIENCE)
    }

    /// With an internal listener for these peers.
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
        self.equip(&mut command);
        command
    }

    /// Gives a process what a server has, however it becomes one: directory, variables, and
    /// pipes that somebody reads.
    pub fn equip(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env_clear()
            .envs(&self.variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub fn start(&self) -> Server {
        let server = self.launch();
        server.log.wait_for("serving");
        server
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub fn launch(&self) -> Server {
        self.launch_by(self.command())
    }

    /// Starts it by a command that becomes it, and waits until it listens.
    #[track_caller]
    pub fn launch_by(&self, mut command: Command) -> Server {
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
            signatory: self.signatory.clone(),
            gated: self.gated,
            dir: Arc::clone(&self.dir),
        }
    }

    /// Runs it to its end, which must come by itself: exit code, standard output and error.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = self.command();
        command.args(arguments);
        run(command)
    }
}

/// Runs a command that must end by itself.
#[track_caller]
pub fn run(mut command: Command) -> (i32, String, String) {
    let mut child = command.spawn().unwrap();
    let (out, error) = (text_of(child.stdout.take()), text_of(child.stderr.take()));
    let mut status = None;
    until("the command to end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    (
        status.unwrap().code().unwrap_or(-1),
        out.join().unwrap(),
        error.join().unwrap(),
    )
}

/// Reads along, so that nobody waits for room in a pipe.
fn text_of(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    let mut pipe = pipe.unwrap();
    std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).unwrap();
        text
    })
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    pub log: Log,
    pub public: SocketAddr,
    internal: Option<SocketAddr>,
    pub signatory: Signatory,
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

    /// A token for everything.
    pub fn server_token(&self) -> String {
        self.signatory.token(&server(now()))
    }

    pub fn client_token(&self, stream: &str, permissions: &[&str]) -> String {
        self.signatory.token(&client(now(), stream, permissions))
    }

    /// A request for a path as it stands, without a token.
    pub fn raw(&self, method: &str, target: &str) -> Request {
        Request::new(self.public, method, target)
    }

    /// A request for a stream, `name` as it stands in the path (with its query); with a server
    /// token where one is needed.
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

    /// A new text stream with this content.
    #[track_caller]
    pub fn text_stream(&self, name: &str, content: &str) -> String {
        self.put(name).text(content).send().expect(201).next_offset()
    }

    /// All of a stream from an offset on.
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

    /// A metric's value; 0 when it is not there yet.
    pub fn metric(&self, name: &str) -> f64 {
        let metrics = self.metrics();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Sends a signal, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        let arguments = [format!("-{signal}"), self.child.id().to_string()];
        assert!(Command::new("kill").args(arguments).status().unwrap().success());
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Asks it to stop, and waits until it has.
    #[track_caller]
    pub fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.wait().code(), Some(0), "{}", self.log.text());
    }

    /// Ends it without asking.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    /// Its resident memory, in KiB.
    pub fn memory_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The most resident memory that it has had, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// A log line in the JSON format.
pub fn json_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
