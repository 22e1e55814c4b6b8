//! A running server, asked over HTTP: what the commands about its streams have in common.

mod client;
mod credentials;
mod error;
mod operations;

use std::{
    fs::File,
    io::{BufRead, BufReader},
    net::IpAddr,
    path::{Path, PathBuf},
};

use reqwest::Url;

pub use client::Remote;
pub use error::RemoteError;
pub(super) use error::shown;
pub(super) use operations::{Batch, Chunk, Created, Form, Listed, Metadata, Probe, Stamp};

use super::{CliError, healthcheck};
use crate::{auth::token::MAX_TOKEN_BYTES, config::Config, protocol::StreamName, startup::StartupError};
use credentials::Credentials;

/// Which server, and in whose name.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which server")]
pub struct RemoteArgs {
    /// The URL that streams are below, such as https://streams.example.com/v1/streams. By default
    /// the configuration's public listener or, where that speaks TLS, the internal one.
    #[arg(long, env = "DS_URL")]
    pub url: Option<String>,
    /// A server token, as `token --server` makes it; `-` reads it from the first line of standard
    /// input. The list of processes shows what is given here, but not the variable.
    #[arg(long, env = "DS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A file whose first line is the token.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub token_file: Option<PathBuf>,
    /// Instead of a token: the private key, in PEM, to sign tokens with as they are needed, with
    /// the issuer and the audience of the configuration.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Names the key, for a server that has several.
    #[arg(long, requires = "key")]
    pub kid: Option<String>,
    /// Send the token over plain HTTP to a public host, where anyone on the way can read it.
    #[arg(long)]
    pub insecure: bool,
    /// Certificates, in PEM, to trust an https server by, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl RemoteArgs {
    /// The server that is meant. Nothing is sent yet. `load` is only called for what the
    /// arguments leave to the configuration.
    ///
    /// # Errors
    /// [`CliError`]
    pub fn remote(&self, load: impl FnOnce() -> Result<Config, StartupError>) -> Result<Remote, CliError> {
        // An empty variable, as compose files make them, is none.
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let url = given(&self.url);
        let config = match (&url, &self.key) {
            (Some(_), None) => None,
            _ => Some(load()?),
        };
        let base = match (url, &config) {
            (Some(url), _) => parse_url(url.trim())?,
            (None, Some(config)) => configured_url(config)?,
            (None, None) => return Err(CliError::Usage("give --url".into())),
        };
        let auth = config.and_then(|config| config.auth);
        let credentials = match (&self.key, self.given_token()?) {
            (Some(key), _) => Credentials::signing(key, self.kid.clone(), auth)?,
            (None, Some(token)) => Credentials::token(token.trim())?,
            (None, None) => Credentials::None,
        };
        if !credentials.are_none() && !self.insecure && is_readable_on_the_way(&base) {
            return Err(CliError::Usage(format!(
                "--url: {base} is plain HTTP to a public host, and anyone on the way could read the token; \
                 use https, or --insecure if you know the way"
            )));
        }
        Remote::new(base, credentials, self.ca.as_deref())
    }
}

impl RemoteArgs {
    /// The token, from wherever it is given. The file comes first: the variable may be meant for
    /// all commands.
    fn given_token(&self) -> Result<Option<String>, CliError> {
        if let Some(file) = &self.token_file {
            return token_of(file).map(Some);
        }
        match self.token.as_deref().map(str::trim) {
            None | Some("") => Ok(None),
            Some("-") => first_line(std::io::stdin().lock(), "--token -").map(Some),
            Some(token) => Ok(Some(token.to_owned())),
        }
    }
}

/// The token in a file's first line.
pub(super) fn token_of(file: &Path) -> Result<String, CliError> {
    let reader = File::open(file).map_err(|error| CliError::file(file, error))?;
    first_line(BufReader::new(reader), &file.display().to_string())
}

/// The token on a line. The lines after it are left to other readers.
pub(super) fn first_line(reader: impl BufRead, source: &str) -> Result<String, CliError> {
    const LONGEST: u64 = MAX_TOKEN_BYTES as u64 + 2;
    let mut line = String::new();
    let read = reader.take(LONGEST).read_line(&mut line);
    read.map_err(|error| CliError::Usage(format!("{source}: {error}")))?;
    match line.trim() {
        "" => Err(CliError::Usage(format!(
            "{source}: there is no token in its first line"
        ))),
        token => Ok(token.to_owned()),
    }
}

/// Whether a request crosses networks that are not one's own without TLS. A name of one label
/// and the reserved ones cannot be public (RFC 6761, RFC 6762, ICANN's `internal`).
fn is_readable_on_the_way(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']', '.']);
    let is_own = match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => match host.rsplit_once('.') {
            None => true,
            Some((_, last)) => matches!(last, "localhost" | "local" | "internal"),
        },
    };
    url.scheme() == "http" && !is_own
}

fn parse_url(text: &str) -> Result<Url, CliError> {
    let usage = |what: &str| {
        CliError::Usage(format!(
            "--url: {what}; write for example https://streams.example.com/v1/streams"
        ))
    };
    let mut url = Url::parse(text).map_err(|error| usage(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(usage("must begin with http:// or https:// and a host"));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(usage(
            "must have no user, no query and no fragment; a token goes into DS_TOKEN",
        ));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn configured_url(config: &Config) -> Result<Url, CliError> {
    let base = config.http.stream_base_path.trim_end_matches('/');
    let domain = config.transport.acme.domain.as_deref();
    let url = match (healthcheck::plain_listener(config), domain) {
        (Some(address), _) => format!("http://{address}{base}"),
        (None, Some(domain)) => format!("https://{domain}:{}{base}", config.server.bind_address.port()),
        (None, None) => {
            return Err(CliError::Usage(
                "the public listener speaks TLS and there is no internal one to ask; give --url".into(),
            ));
        }
    };
    parse_url(&url)
}

/// Streams by name or by the beginning of their names.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Names of streams.
    #[arg(value_name = "NAME", value_parser = StreamName::new, conflicts_with = "prefix")]
    pub names: Vec<StreamName>,
    /// Instead of names: all streams whose names begin with this.
    #[arg(long)]
    pub prefix: Option<String>,
}

#[cfg(test)]
mod tests;
