//! The arguments that select a server, credentials and streams.

use std::{net::IpAddr, path::PathBuf};

use reqwest::Url;

use super::{client::Remote, credentials::Credentials};
use crate::{
    cli::{
        error::CliError,
        first_line::{first_line, token_of},
        plain_listener::plain_listener,
    },
    clock::Clock,
    config::Config,
    protocol::StreamName,
    startup::StartupError,
};

/// The server and the credentials.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Which server")]
pub struct RemoteArgs {
    /// The URL that streams are below, such as https://streams.example.com/v1/streams. By default
    /// the configuration's public listener or, where that speaks TLS, the internal one.
    #[arg(long, env = "DS_URL")]
    pub url: Option<String>,
    /// A server token, as `token --server` makes it; `-` reads it from the first line of standard
    /// input. The process list shows this argument; the variable stays private.
    #[arg(long, env = "DS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A file whose first line is the token.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub token_file: Option<PathBuf>,
    /// Instead of a token: the private key, in PEM, that signs tokens as they are needed, with the
    /// configured issuer and audience.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The key's id, for a server that has several keys.
    #[arg(long, requires = "key")]
    pub kid: Option<String>,
    /// Send the token over plain HTTP to a public host, where others on the network can read it.
    #[arg(long)]
    pub insecure: bool,
    /// CA certificates, in PEM, that an https server is verified with, instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl RemoteArgs {
    /// A client for the server. Nothing is sent yet. `load` is called only when the arguments
    /// leave something to the configuration.
    ///
    /// # Errors
    /// [`CliError`]
    pub fn remote(
        &self,
        clock: &Clock,
        load: impl FnOnce() -> Result<Config, StartupError>,
    ) -> Result<Remote, CliError> {
        // Empty variables, which compose files make, count as unset.
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
            (Some(key), _) => Credentials::signing(key, self.kid.clone(), auth, clock.clone())?,
            (None, Some(token)) => Credentials::token(token.trim())?,
            (None, None) => Credentials::None,
        };
        if !credentials.is_anonymous() && !self.insecure && is_exposed(&base) {
            return Err(CliError::Usage(format!(
                "--url: {base} is plain HTTP to a public host, so others on the network could read the token; \
                 use https, or --insecure if you trust the network"
            )));
        }
        Remote::new(base, credentials, self.ca.as_deref())
    }
}

impl RemoteArgs {
    /// The token. The file takes precedence: the variable may be set for all commands.
    pub(super) fn given_token(&self) -> Result<Option<String>, CliError> {
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

/// Whether a request crosses foreign networks without TLS. Names of one label and reserved names
/// are never public (RFC 6761, RFC 6762, ICANN's `internal`).
fn is_exposed(url: &Url) -> bool {
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
    let mut url = Url::parse(text).map_err(|error| usage(&format!("not a URL: {error}")))?;
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
    let url = match (plain_listener(config), domain) {
        (Some(address), _) => format!("http://{address}{base}"),
        (None, Some(domain)) => format!("https://{domain}:{}{base}", config.server.bind_address.port()),
        (None, None) => {
            return Err(CliError::Usage(
                "the public listener speaks TLS and there is no internal listener to ask; give --url".into(),
            ));
        }
    };
    parse_url(&url)
}

/// Streams by name or by prefix.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Selection {
    /// Names of streams.
    #[arg(value_name = "NAME", value_parser = StreamName::new, conflicts_with = "prefix")]
    pub names: Vec<StreamName>,
    /// Instead of names: all streams whose names begin with this prefix.
    #[arg(long)]
    pub prefix: Option<String>,
}
