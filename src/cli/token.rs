//! `token`

use std::{io::Write, path::PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{error::CliError, signing::SigningKey};
use crate::{auth::AuthConfig, clock::Clock, protocol::StreamName, settings::duration};

/// Sign a token, as the app would, and print it.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("bearer").required(true).args(["stream", "server"])))]
pub(super) struct TokenArgs {
    /// The private key, in PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A client's token, for this one stream.
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// An app server's token, with every permission and optionally a name.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    server: Option<Option<String>>,
    /// The client's permissions: read, write or both.
    #[arg(long, value_delimiter = ',', default_value = "read", conflicts_with = "server")]
    permissions: Vec<String>,
    /// The client's identity, for the app's own use.
    #[arg(long, conflicts_with = "server")]
    identity: Option<String>,
    /// The `iss` claim. Default: the configured issuer.
    #[arg(long)]
    issuer: Option<String>,
    /// The `aud` claim. Default: the configured audience.
    #[arg(long)]
    audience: Option<String>,
    /// The lifetime: `90s`, `15m`, `1h 30m`, or a number of seconds.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    expires_in: String,
    /// The key's id, for a server that has several keys.
    #[arg(long)]
    kid: Option<String>,
}

/// Runs `token`. `auth` is the configuration's section, if it has one.
///
/// # Errors
/// [`CliError`]
pub(super) fn run(
    args: &TokenArgs,
    auth: Option<&AuthConfig>,
    clock: &Clock,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let key = SigningKey::read(&args.key)?;
    let claims = claims(args, auth, clock.secs())?;
    writeln!(out, "{}", key.sign(args.kid.as_deref(), &claims)?)?;
    Ok(())
}

fn claims(args: &TokenArgs, auth: Option<&AuthConfig>, now: u64) -> Result<Value, CliError> {
    let mut claims = serde_json::Map::new();
    match (&args.stream, &args.server) {
        (Some(stream), None) => {
            let stream = StreamName::new(stream).map_err(|error| CliError::Usage(format!("--stream: {error}")))?;
            if let Some(other) = args.permissions.iter().find(|word| *word != "read" && *word != "write") {
                return Err(CliError::Usage(format!(
                    "--permissions: {other:?} is not a permission; use `read` or `write`"
                )));
            }
            claims.insert("stream".into(), stream.as_str().into());
            claims.insert("permissions".into(), json!(args.permissions));
            if let Some(identity) = &args.identity {
                claims.insert("identity".into(), identity.as_str().into());
            }
        }
        (None, Some(name)) => {
            let name = match name.as_deref() {
                None => json!(true),
                Some("") => return Err(CliError::Usage("--server: the name is empty".into())),
                Some(name) => json!(name),
            };
            claims.insert("server".into(), name);
        }
        _ => return Err(CliError::Usage("give either --stream or --server".into())),
    }
    let configured = |list: fn(&AuthConfig) -> &Vec<String>| auth.and_then(|auth| list(auth).first().cloned());
    if let Some(issuer) = args.issuer.clone().or_else(|| configured(|auth| &auth.issuer)) {
        claims.insert("iss".into(), issuer.into());
    }
    if let Some(audience) = args.audience.clone().or_else(|| configured(|auth| &auth.audience)) {
        claims.insert("aud".into(), audience.into());
    }
    claims.insert("iat".into(), now.into());
    claims.insert("exp".into(), now.saturating_add(seconds(&args.expires_in)?).into());
    Ok(Value::Object(claims))
}

fn seconds(text: &str) -> Result<u64, CliError> {
    duration::seconds(text)
        .filter(|seconds| (1..=100 * 366 * 86_400).contains(seconds))
        .ok_or_else(|| {
            CliError::Usage(format!(
                "--expires-in {text:?} is not a lifetime; write for example `15m`"
            ))
        })
}
