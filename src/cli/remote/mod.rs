//! A running server, asked over HTTP: what the commands about its streams have in common.

mod client;
mod credentials;
mod error;
mod operations;

use std::path::PathBuf;

use reqwest::Url;

pub use client::Remote;
pub use error::RemoteError;
pub(super) use error::shown;
pub(super) use operations::{Batch, Chunk, Created, Form, Listed, Metadata, Probe, Stamp};

use super::{CliError, healthcheck};
use crate::{config::Config, protocol::StreamName, startup::StartupError};
use credentials::Credentials;

/// Which server, and in whose name.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which server")]
pub struct RemoteArgs {
    /// The URL that streams are below, such as https://streams.example.com/v1/streams. By default
    /// the configuration's public listener or, where that speaks TLS, the internal one.
    #[arg(long, env = "DS_URL")]
    pub url: Option<String>,
    /// A server token, as `token --server` makes it. Better in the variable, where the list of
    /// processes does not show it.
    #[arg(long, env = "DS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Instead of a token: the private key, in PEM, to sign tokens with as they are needed, with
    /// the issuer and the audience of the configuration.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Names the key, for a server that has several.
    #[arg(long, requires = "key")]
    pub kid: Option<String>,
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
        let credentials = match (&self.key, given(&self.token)) {
            (Some(key), _) => Credentials::signing(key, self.kid.clone(), auth)?,
            (None, Some(token)) => Credentials::token(token.trim())?,
            (None, None) => Credentials::None,
        };
        Remote::new(base, credentials, self.ca.as_deref())
    }
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
