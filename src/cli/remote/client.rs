//! The HTTP client of one server.

use std::{fs, net::IpAddr, path::Path, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Certificate, Client, Url, redirect};

use super::{credentials::Credentials, error::RemoteError};
use crate::{cli::error::CliError, protocol::StreamName};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Only a single message can make a response larger than a few MiB.
const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;
/// Attempts while the server answers 503.
const MAX_ATTEMPTS: u32 = 6;
/// The longest `Retry-After` that is honoured.
const MAX_RETRY_SECS: u64 = 10;

/// Everything but the characters that a path holds unescaped.
const ESCAPED_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

/// A server and the credentials for it.
pub struct Remote {
    client: Client,
    /// Without a trailing slash.
    base: Url,
    credentials: Credentials,
}

/// A successful response.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) url: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Remote {
    pub(super) fn new(base: Url, credentials: Credentials, ca: Option<&Path>) -> Result<Self, CliError> {
        let builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // Shorter than the idle timeouts of servers.
            .pool_idle_timeout(IDLE_TIMEOUT)
            // A token must not follow a redirect to another server.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("durable-streams-server/", env!("CARGO_PKG_VERSION")));
        let builder = match ca {
            Some(file) => builder.tls_certs_only(certificates(file)?),
            // Plain HTTP needs no certificates, and a small container may have none.
            None if base.scheme() == "http" => builder.tls_certs_only([]),
            None => builder,
        };
        // No proxy of the environment reaches this machine.
        let builder = if is_local(&base) { builder.no_proxy() } else { builder };
        let client = builder
            .build()
            .map_err(|error| RemoteError::unreachable(base.as_str(), error))?;
        Ok(Self {
            client,
            base,
            credentials,
        })
    }

    /// The URL that streams are below.
    pub(in crate::cli) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    pub(super) fn stream_url(&self, name: &StreamName) -> String {
        format!(
            "{}/{}",
            self.base(),
            utf8_percent_encode(name.as_str(), ESCAPED_IN_PATH)
        )
    }

    /// Sends a request, again while the server answers 503, and reads the whole response. Errors
    /// do not show `query`.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response, CliError> {
        let mut attempt = 1;
        loop {
            let mut request = self
                .client
                .request(method.clone(), format!("{url}{query}"))
                .headers(headers.clone());
            if let Some(authorization) = self.credentials.authorization()? {
                request = request.header(header::AUTHORIZATION, authorization);
            }
            let sent = request.body(body.clone()).send().await;
            let response = sent.map_err(|error| RemoteError::unreachable(url, error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = read_body(url, response).await?;
            if status.is_success() {
                return Ok(Response {
                    url: url.to_owned(),
                    status,
                    headers,
                    body,
                });
            }
            if status != StatusCode::SERVICE_UNAVAILABLE || attempt == MAX_ATTEMPTS {
                let has_token = !self.credentials.is_anonymous();
                return Err(RemoteError::refused(url, status, headers, &body, has_token).into());
            }
            attempt += 1;
            tokio::time::sleep(retry_after(&headers)).await;
        }
    }
}

fn is_local(base: &Url) -> bool {
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, CliError> {
    let pem = fs::read(file).map_err(|error| CliError::file(file, error))?;
    let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if found.is_empty() {
        return Err(CliError::Usage(format!(
            "--ca: {} holds no PEM certificate",
            file.display()
        )));
    }
    Ok(found)
}

async fn read_body(url: &str, mut response: reqwest::Response) -> Result<Bytes, RemoteError> {
    let mut body = BytesMut::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| RemoteError::unreachable(url, error))?
    {
        if body.len() + piece.len() > MAX_RESPONSE_BYTES {
            return Err(RemoteError::unexpected(
                url,
                format!("more than {MAX_RESPONSE_BYTES} bytes"),
            ));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let asked = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(asked.unwrap_or(1).min(MAX_RETRY_SECS))
}
