//! curl as a client: TLS and HTTP/2 by somebody else's code.

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
    /// Trusts the server CA, and nobody else.
    pub fn new(certs: &Certs, to: SocketAddr, target: &str) -> Self {
        Self::to(certs, &format!("https://localhost:{}{target}", to.port()))
    }

    pub fn to(certs: &Certs, url: &str) -> Self {
        let curl = Self {
            arguments: Vec::new(),
            url: url.to_owned(),
        };
        // Whatever `localhost` is here, the servers listen on 127.0.0.1.
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

    /// Shows the certificate of this name.
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

    /// The answer, with the version of HTTP that it came by; or curl's complaint.
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

    /// curl's complaint: there must be no answer at all.
    #[track_caller]
    pub fn refused(&self) -> String {
        match self.try_send() {
            Err(complaint) => complaint,
            Ok((_, answer)) => panic!("answered {}: {}", answer.status, answer.text()),
        }
    }

    /// Leaves it running; what comes is in the log, line by line.
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

/// A curl that reads on. Ended when dropped.
pub struct Following {
    child: Child,
    pub lines: Log,
}

impl Following {
    /// Whether it is still connected.
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

/// What `openssl s_client` sees of a server, having sent nothing.
pub fn openssl(to: SocketAddr, arguments: &[&str]) -> (bool, String) {
    let mut command = peers::command("openssl");
    command.args(["s_client", "-connect", &to.to_string(), "-servername", "localhost"]);
    let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

/// The certificate that is shown to new connections.
pub fn shown(to: SocketAddr) -> String {
    let (_, said) = openssl(to, &["-showcerts"]);
    let (_, behind) = said
        .split_once("BEGIN CERTIFICATE-----")
        .unwrap_or_else(|| panic!("{said}"));
    behind.split_once("-----END").unwrap().0.to_owned()
}

/// Plain HTTP to where TLS is spoken: whatever comes, it is no answer.
pub fn plain(to: SocketAddr, text: &str) -> String {
    let mut connection = Connection::open(to);
    connection.say(text);
    let mut rest = Vec::new();
    let _ = connection.stream.read_to_end(&mut rest);
    String::from_utf8_lossy(&rest).into_owned()
}
