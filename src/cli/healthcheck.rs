//! `healthcheck`: for container health checks, where no curl is.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::Duration,
};

use super::run::Failure;
use crate::config::{Config, TransportMode};

/// Asks the running server whether it is up.
#[derive(Debug, clap::Args)]
pub struct HealthcheckArgs {
    /// Address and port to ask. By default the configuration's public listener or, where that
    /// speaks TLS, the internal one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub address: Option<SocketAddr>,
    /// How many seconds to wait for the answer.
    #[arg(long, default_value_t = 2)]
    pub timeout: u64,
}

/// Runs `healthcheck`.
///
/// # Errors
/// The server is not up, or there is no plain listener to ask.
pub fn run(
    args: &HealthcheckArgs,
    config: impl FnOnce() -> Result<Config, Failure>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let address = match args.address {
        Some(address) => address,
        None => plain_listener(&config()?).ok_or_else(|| {
            failure("the public listener speaks TLS and there is no internal one to ask; give --address".into())
        })?,
    };
    let timeout = Duration::from_secs(args.timeout.max(1));
    let status = ask(address, timeout).map_err(|error| failure(format!("{address} does not answer: {error}")))?;
    if !status.starts_with("HTTP/1.1 200") {
        return Err(failure(format!("{address} answered {status}")));
    }
    writeln!(out, "{address} is up").map_err(|error| failure(error.to_string()))
}

fn failure(text: String) -> Failure {
    Failure {
        text: format!("healthcheck: {text}"),
        code: 1,
    }
}

/// Where the configured server can be asked from its own machine without TLS, if anywhere.
pub(super) fn plain_listener(config: &Config) -> Option<SocketAddr> {
    if config.transport.mode == TransportMode::Http {
        return Some(reachable(config.server.bind_address));
    }
    let internal = config.internal.as_ref();
    internal.map(|internal| reachable(internal.address()))
}

/// A listener on all addresses is asked on the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr, timeout: Duration) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(
        stream,
        "GET /up HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = Vec::new();
    stream.take(4096).read_to_end(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    Ok(head.lines().next().unwrap_or("nothing").to_owned())
}
