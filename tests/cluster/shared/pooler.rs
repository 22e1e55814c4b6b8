//! `PgBouncer` in front of PostgreSQL.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::super::support::{
    peers,
    shared::postgres::{PASSWORD, Postgres, USER},
    until,
};

/// When a connection to PostgreSQL goes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    Session,
    Transaction,
}

/// A running pooler, stopped on drop. If it ends by itself, it is started again, as a supervisor does.
pub struct PgBouncer {
    pub address: SocketAddr,
    config: PathBuf,
    child: Arc<Mutex<Option<Child>>>,
}

impl PgBouncer {
    #[track_caller]
    pub fn start(postgres: &Postgres, mode: PoolMode) -> Self {
        let address = peers::free_address();
        let dir = postgres.dir();
        let (config, users) = (dir.join("pgbouncer.ini"), dir.join("users.txt"));
        fs::write(&users, format!("\"{USER}\" \"{PASSWORD}\"\n")).unwrap();
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
        };
        let lines = [
            "[databases]".to_owned(),
            format!(
                "* = host=127.0.0.1 port={} user={USER} password={PASSWORD}",
                postgres.port()
            ),
            "[pgbouncer]".to_owned(),
            format!("listen_addr = {}", address.ip()),
            format!("listen_port = {}", address.port()),
            "unix_socket_dir =".to_owned(),
            "auth_type = plain".to_owned(),
            format!("auth_file = {}", users.display()),
            format!("pool_mode = {mode}"),
            "max_client_conn = 500".to_owned(),
            "default_pool_size = 60".to_owned(),
            "ignore_startup_parameters = extra_float_digits,options".to_owned(),
            "server_login_retry = 0.2".to_owned(),
        ];
        fs::write(&config, lines.join("\n")).unwrap();
        let child = Arc::new(Mutex::new(Some(spawn(&config))));
        listens(address);
        let (supervised, restarted) = (Arc::clone(&child), config.clone());
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(100));
                let mut child = supervised.lock().unwrap();
                let Some(running) = child.as_mut() else { return };
                if let Ok(Some(status)) = running.try_wait() {
                    println!("PgBouncer ended by itself ({status}) and is started again");
                    *child = Some(spawn(&restarted));
                }
            }
        });
        Self { address, config, child }
    }

    /// Kills it and starts it again.
    #[track_caller]
    pub fn restart(&self) {
        let mut child = self.child.lock().unwrap();
        stop(child.take());
        *child = Some(spawn(&self.config));
        listens(self.address);
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        stop(self.child.lock().unwrap().take());
    }
}

fn stop(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

#[track_caller]
fn spawn(config: &PathBuf) -> Child {
    let program = peers::command("pgbouncer");
    // It refuses to run as root.
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        command.arg(program.get_program());
        command
    } else {
        program
    };
    command.arg("--quiet").arg(config);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[track_caller]
fn listens(address: SocketAddr) {
    until("PgBouncer to listen", || TcpStream::connect(address).is_ok());
}
