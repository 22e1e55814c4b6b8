//! curl as an independent TLS and HTTP/2 client.

use std::{
    io::Read as _,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use super::{
    certs::Certs,
    http::{Answer, Connection},
    log::Log,
    peers,
};

/// A request to a server at `localhost`.
#[derive(Clone)]
#[must_use]
pub struct Curl {
    arguments: Vec<String>,
    url: String,
}

impl Curl {
    /// Trusts only the server CA.
    pub fn new(certs: &Certs, to: SocketAddr, target: &str) -> Self {
        Self::to(certs, &format!("https://localhost:{}{target}", to.port()))
    }

    pub fn to(certs: &Certs, url: &str) -> Self {
        let curl = Self {
            arguments: Vec::new(),
            url: url.to_owned(),
        };
        // The servers listen on 127.0.0.1, whatever `localhost` resolves to.
        curl.with(&["-sS", "--noproxy", "*", "--max-time", "30", "-4"]).with(&[
            "--path-as-is",
            "--cacert",
            &certs.text("ca.pem"),
        ])
    }

    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&word| word.to_owned()));
        self
    }

    pub fn method(self, method: &str) -> Self {
        self.with(&["-X", method])
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        self.with(&["-H", &format!("{name}: {value}")])
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn text(self, body: &str) -> Self {
        self.header("content-type", "text/plain").with(&["--data-binary", body])
    }

    /// Presents this client certificate.
    pub fn certificate(self, certs: &Certs, name: &str) -> Self {
        let file = |end: &str| certs.text(&format!("{name}.{end}"));
        self.with(&["--cert", &file("pem"), "--key", &file("key")])
    }

    fn command(&self) -> Command {
        let mut command = peers::command("curl");
        command
            .args(&self.arguments)
            .arg(&self.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The response and its HTTP version, or curl's error.
    pub fn try_send(&self) -> Result<(String, Answer), String> {
        let output = self.clone().with(&["-i"]).command().output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let end = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&output.stdout[..end]).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap().split(' ');
        let version = first.next().unwrap().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let answer = Answer {
            status: first.next().unwrap().parse().unwrap(),
            headers: headers.collect(),
            body: output.stdout[end + 4..].to_vec(),
        };
        Ok((version, answer))
    }

    #[track_caller]
    pub fn send(&self) -> Answer {
        self.try_send()
            .unwrap_or_else(|error| panic!("{}: {error}", self.url))
            .1
    }

    /// curl's error; fails if there is a response.
    #[track_caller]
    pub fn refused(&self) -> String {
        match self.try_send() {
            Err(complaint) => complaint,
            Ok((_, answer)) => panic!("answered {}: {}", answer.status, answer.text()),
        }
    }

    /// Runs in the background; output goes to the log, line by line.
    pub fn follow(&self) -> Following {
        let mut command = self
            .clone()
            .with(&["-N", "--max-time", "600", "-D", "/dev/stdout"])
            .command();
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let lines = Log::of(child.stdout.take().unwrap());
        Following { child, lines }
    }
}

/// A running curl, killed on drop.
pub struct Following {
    child: Child,
    pub lines: Log,
}

impl Following {
    pub fn goes_on(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output of `openssl s_client` without a request.
pub fn openssl(to: SocketAddr, arguments: &[&str]) -> (bool, String) {
    let mut command = peers::command("openssl");
    command.args(["s_client", "-connect", &to.to_string(), "-servername", "localhost"]);
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// The certificate presented to new connections.
pub fn shown(to: SocketAddr) -> String {
    let (_, said) = openssl(to, &["-showcerts"]);
    let (_, behind) = said
        .split_once("BEGIN CERTIFICATE-----")
        .unwrap_or_else(|| panic!("{said}"));
    behind.split_once("-----END").unwrap().0.to_owned()
}

/// Sends plain HTTP to a TLS port; fails if there is an HTTP response.
pub fn plain(to: SocketAddr, text: &str) -> String {
    let mut connection = Connection::open(to);
    connection.write(text);
    let mut rest = Vec::new();
    let _ = connection.stream.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}
