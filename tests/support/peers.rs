//! Third-party programs from Debian packages.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use super::until;

/// The command of a Debian package. If it is missing the test fails, because skipping would look
/// like success.
#[track_caller]
pub fn command(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    // Debian keeps servers out of users' `PATH`.
    let places = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    let found = places
        .map(|place| Path::new(place).join(name))
        .find(|file| file.is_file());
    let package = name.strip_suffix("-challtestsrv").unwrap_or(name);
    let found = found.unwrap_or_else(|| {
        panic!("{name} is missing: install the Debian package {package} (apt-get install {package})")
    });
    let mut command = Command::new(found);
    command.stdin(Stdio::null());
    command
}

/// A free port below the ephemeral range, so that no test with port 0 takes it meanwhile; never the
/// same one twice.
pub fn free_address() -> SocketAddr {
    const PORTS: std::ops::Range<u32> = 10_000..15_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Concurrent test runs start elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    loop {
        let place = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % u32::try_from(PORTS.len()).unwrap();
        let port = u16::try_from(PORTS.start + place).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

/// A running proxy, stopped on drop.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Proxy {
    /// nginx with this content of its `server` block after `listen`.
    #[track_caller]
    pub fn nginx(dir: &Path, name: &str, listen: &str, server: &str) -> Self {
        let home = dir.join(name);
        std::fs::create_dir(&home).unwrap();
        let address = free_address();
        let at = home.display();
        // A single foreground process that keeps all files in its directory.
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

    /// HAProxy with this `backend`, and a frontend whose `bind` line ends in `bind`.
    #[track_caller]
    pub fn haproxy(dir: &Path, bind: &str, frontend: &str, backend: &str) -> Self {
        Self::haproxy_with(dir, |address, _| {
            format!(
                "global\n  maxconn 200\ndefaults\n  mode http\n  timeout connect 10s\n  timeout client 60s\n  \
                 timeout server 60s\nfrontend edge\n  bind {address} {bind}\n{frontend}\n  default_backend streams\n\
                 backend streams\n{backend}\n"
            )
        })
    }

    /// HAProxy with a configuration that is made from its address and its directory.
    #[track_caller]
    pub fn haproxy_with(dir: &Path, configuration: impl FnOnce(SocketAddr, &Path) -> String) -> Self {
        let home = dir.join("haproxy");
        std::fs::create_dir(&home).unwrap();
        let address = free_address();
        let file = home.join("haproxy.cfg");
        std::fs::write(&file, configuration(address, &home)).unwrap();
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
