//! `healthcheck`: for container health checks, in images without curl.

pub(super) mod error;

use std::{io::Write, net::SocketAddr, time::Duration};

use http::StatusCode;
use reqwest::{Client, redirect};

use self::error::HealthcheckError;
use super::{error::CliError, plain_listener::plain_listener, remote::error::innermost};
use crate::{config::Config, startup::StartupError};

/// Ask the running server whether it is up.
#[derive(Debug, clap::Args)]
pub(super) struct HealthcheckArgs {
    /// Address and port to ask. By default the configuration's public listener or, where that
    /// speaks TLS, the internal one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// Seconds to wait for the answer.
    #[arg(long, default_value_t = 2)]
    timeout: u64,
}

/// Runs `healthcheck`.
///
/// # Errors
/// The server is not up, or only TLS listeners are configured.
pub(super) async fn run(
    args: &HealthcheckArgs,
    load: impl FnOnce() -> Result<Config, StartupError>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let address = match args.address {
        Some(address) => address,
        None => plain_listener(&load()?).ok_or(HealthcheckError::NoPlainListener)?,
    };
    let status = ask(address, Duration::from_secs(args.timeout.max(1)))
        .await
        .map_err(|source| {
            let source = source.without_url();
            HealthcheckError::NoAnswer {
                address,
                cause: innermost(&source),
                source,
            }
        })?;
    if status != StatusCode::OK {
        return Err(HealthcheckError::Unhealthy { address, status }.into());
    }
    writeln!(out, "{address} is up")?;
    Ok(())
}

async fn ask(address: SocketAddr, timeout: Duration) -> Result<StatusCode, reqwest::Error> {
    let client = Client::builder()
        .timeout(timeout)
        .no_proxy()
        .redirect(redirect::Policy::none())
        // Plain HTTP needs no certificates, and a small image may have none.
        .tls_certs_only([])
        .build()?;
    let response = client.get(format!("http://{address}/up")).send().await?;
    Ok(response.status())
}
