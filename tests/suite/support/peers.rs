//! Other people's programs, as Debian packages them.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::until;

/// The command of a Debian package. Without it the test fails: a test that passes where nothing
/// was tested would say that it works.
#[track_caller]
pub fn command(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    // Debian keeps servers out of users' PATH.
    let places = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    let found = places
        .map(|place| Path::new(place).join(name))
        .find(|file| file.is_file());
    let found = found.unwrap_or_else(|| {
        panic!("{name} is missing: install the Debian package of this name (apt-get install {name})")
    });
    let mut command = Command::new(found);
    command.stdin(Stdio::null());
    command
}

/// A port that nobody had a moment ago.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A running proxy. Ended when dropped, by its process id.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Proxy {
    /// nginx, with this `server` block behind its `listen`.
    #[track_caller]
    pub fn nginx(dir: &Path, name: &str, listen: &str, server: &str) -> Self {
        let home = dir.join(name);
        std::fs::create_dir(&home).unwrap();
        let address = free_address();
        let at = home.display();
        // One process, in the foreground, which keeps everything in its own directory.
        let text = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log {at}/log info;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n  \
             fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n  \
             server {{\n    listen {address} {listen};\n{server}\n  }}\n}}\n"
        );
        let file = home.join("nginx.conf");
        std::fs::write(&file, text).unwrap();
        let mut command = command("nginx");
        command
            .arg("-p")
            .arg(&home)
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(home.join("log"));
        Self::start(command, address, home.join("log"))
    }

    /// HAProxy, with this `backend` behind a frontend whose `bind` line ends in `bind`.
    #[track_caller]
    pub fn haproxy(dir: &Path, bind: &str, frontend: &str, backend: &str) -> Self {
        let home = dir.join("haproxy");
        std::fs::create_dir(&home).unwrap();
        let address = free_address();
        let text = format!(
            "global\n  maxconn 200\ndefaults\n  mode http\n  timeout connect 10s\n  timeout client 60s\n  \
             timeout server 60s\nfrontend edge\n  bind {address} {bind}\n{frontend}\n  default_backend streams\n\
             backend streams\n{backend}\n"
        );
        let file = home.join("haproxy.cfg");
        std::fs::write(&file, text).unwrap();
        let mut command = command("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Self::start(command, address, home.join("log"))
    }

    #[track_caller]
    fn start(mut command: Command, address: SocketAddr, log: PathBuf) -> Self {
        let said = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        command.stdout(said.try_clone().unwrap()).stderr(said);
        let mut proxy = Self {
            child: command.spawn().unwrap(),
            address,
            log,
        };
        until("the proxy to listen", || {
            if let Some(status) = proxy.child.try_wait().unwrap() {
                panic!("the proxy ended ({status}):\n{}", proxy.log());
            }
            TcpStream::connect(address).is_ok()
        });
        proxy
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log());
        }
    }
}
