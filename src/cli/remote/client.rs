use std::{fs, net::IpAddr, path::Path, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Certificate, Client, Response, Url, redirect};

use super::{RemoteError, credentials::Credentials};
use crate::{cli::CliError, protocol::StreamName};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may say nothing while it is to answer.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is taken. Only a single message can be larger than a few MiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// How often a server is asked that says that it cannot answer right now.
const ATTEMPTS: u32 = 6;
/// The longest that a server may ask to wait in between, in seconds.
const MAX_WAIT_SECS: u64 = 10;

/// What a path may hold as it is.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

/// A server, and in whose name it is asked.
pub struct Remote {
    client: Client,
    /// Without a slash at its end.
    base: Url,
    credentials: Credentials,
}

/// An answer that says yes.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) url: String,
    pub(in crate::cli) status: StatusCode,
    pub(in crate::cli) headers: HeaderMap,
    pub(in crate::cli) body: Bytes,
}

impl Remote {
    pub(super) fn new(base: Url, credentials: Credentials, ca: Option<&Path>) -> Result<Self, CliError> {
        let builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // Sooner than a server ends a connection on which nothing happens.
            .pool_idle_timeout(IDLE_TIMEOUT)
            // A token goes to the server that it is meant for, and to no other.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("durable-streams-server/", env!("CARGO_PKG_VERSION")));
        let builder = match ca {
            Some(file) => builder.tls_certs_only(certificates(file)?),
            // Plain HTTP needs no certificates, and a small container may have none.
            None if base.scheme() == "http" => builder.tls_certs_only([]),
            None => builder,
        };
        // What is on this machine is not behind a proxy, whatever the environment says.
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
        format!("{}/{}", self.base(), utf8_percent_encode(name.as_str(), IN_PATH))
    }

    /// Sends a request, again if the server asks for that, and takes the whole answer. `query`
    /// is not part of what errors show.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, CliError> {
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
            let body = take(url, response).await?;
            if status.is_success() {
                return Ok(Answer {
                    url: url.to_owned(),
                    status,
                    headers,
                    body,
                });
            }
            if status != StatusCode::SERVICE_UNAVAILABLE || attempt == ATTEMPTS {
                let has_token = !self.credentials.are_none();
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
            "--ca: {} holds no certificate in PEM",
            file.display()
        )));
    }
    Ok(found)
}

async fn take(url: &str, mut response: Response) -> Result<Bytes, RemoteError> {
    let mut body = BytesMut::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| RemoteError::unreachable(url, error))?
    {
        if body.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(RemoteError::strange(url, format!("more than {MAX_ANSWER_BYTES} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let asked = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(asked.unwrap_or(1).min(MAX_WAIT_SECS))
}
