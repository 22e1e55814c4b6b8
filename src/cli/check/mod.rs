//! `check`: runs the loaders of a start, without starting.

use std::{fs, io::Write, path::Path};

use crate::{
    auth::{AuthMode, KeySet},
    cli::error::CliError,
    config::{Config, ConfigLoadOptions, Loaded},
    listener::{TlsContextError, TransportMode, build_tls_context, check_tls_files},
    startup::{self, Phase, StartupError},
    storage::{StorageMode, tools::holds_store},
};

/// One loader: lines about what it found, else every problem.
pub type Probe = fn(&Config) -> Result<Vec<String>, Vec<String>>;

/// The loaders, by phase.
pub const PROBES: &[(Phase, Probe)] = &[
    (Phase::LoadKeys, key_files),
    (Phase::CheckTlsFiles, tls_files),
    (Phase::BuildTlsContext, tls_context),
    (Phase::StartServer, data_dir),
];

/// Validates the configuration and the files that it names, and prints a summary.
///
/// # Errors
///
/// Every problem; when `out` cannot be written to.
pub fn run(options: &ConfigLoadOptions, out: &mut dyn Write) -> Result<(), CliError> {
    run_with(options, PROBES, out)
}

/// [`run`] with other loaders.
///
/// # Errors
///
/// Every problem; when `out` cannot be written to.
pub fn run_with(options: &ConfigLoadOptions, probes: &[(Phase, Probe)], out: &mut dyn Write) -> Result<(), CliError> {
    let loaded = Config::load(options).map_err(StartupError::from)?;
    let mut lines = summary(&loaded);
    let mut failed: Option<(Phase, Vec<String>)> = None;
    for (phase, probe) in probes {
        match probe(&loaded.config) {
            Ok(found) => lines.extend(found),
            Err(problems) => failed.get_or_insert_with(|| (*phase, Vec::new())).1.extend(problems),
        }
    }
    if let Some((phase, problems)) = failed {
        return Err(StartupError::several(phase, problems).into());
    }
    let exposed = startup::exposures(&loaded.config).into_iter();
    let warnings = loaded.warnings.iter().map(ToString::to_string).chain(exposed);
    lines.extend(warnings.map(|warning| format!("warning    {warning}")));
    lines.push("ok".into());
    writeln!(out, "{}", lines.join("\n"))?;
    Ok(())
}

fn summary(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let files: Vec<String> = loaded.files.iter().map(|path| path.display().to_string()).collect();
    let files = if files.is_empty() {
        "none; built-in defaults and variables".into()
    } else {
        files.join(", ")
    };
    let scheme = match (&config.transport.acme.domain, config.transport.mode) {
        (Some(domain), _) => format!("automatic HTTPS for {domain}"),
        (None, TransportMode::Http) => "plain HTTP".into(),
        (None, TransportMode::Tls) => "TLS".into(),
        (None, TransportMode::Mtls) => "mutual TLS".into(),
    };
    let mut lines = vec![
        format!("files      {files}"),
        format!(
            "public     {} {scheme}, streams at {}",
            config.server.bind_address, config.http.stream_base_path
        ),
    ];
    if let Some(internal) = &config.internal {
        let peers: Vec<String> = internal.allowed_ips.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "internal   {} plain HTTP for {}",
            internal.address(),
            peers.join(", ")
        ));
    }
    lines.push(match config.storage.mode {
        StorageMode::Memory => "storage    memory: lost on restart".into(),
        StorageMode::Postgres => "storage    PostgreSQL, shared with other servers".into(),
        _ => format!("storage    {}", config.storage.data_dir.display()),
    });
    if !gated(config) {
        lines.push("auth       none: an open server".into());
    }
    lines
}

fn gated(config: &Config) -> bool {
    config.auth.as_ref().is_some_and(|auth| auth.mode == AuthMode::Jwt)
}

/// The keys that verify tokens, and notes about unusable ones.
fn key_files(config: &Config) -> Result<Vec<String>, Vec<String>> {
    let Some(auth) = config.auth.as_ref().filter(|_| gated(config)) else {
        return Ok(Vec::new());
    };
    let path = &auth.verify_key;
    let keys = KeySet::load(path).map_err(|error| vec![error.to_string()])?;
    let mut lines = vec![format!("auth       tokens verified by {}", path.display())];
    lines.extend(keys.notes().map(|note| format!("warning    {note}")));
    Ok(lines)
}

/// The TLS files exist, are files and can be read.
fn tls_files(config: &Config) -> Result<Vec<String>, Vec<String>> {
    let (transport, acme) = (&config.transport, &config.transport.acme);
    if acme.domain.is_some() {
        return match &acme.root_ca_path {
            Some(path) => open_file(path)
                .map(|()| vec![format!("tls        {}", path.display())])
                .map_err(|reason| vec![format!("transport.acme.root_ca_path: {} {reason}", path.display())]),
            None => Ok(Vec::new()),
        };
    }
    if transport.mode == TransportMode::Http {
        return Ok(Vec::new());
    }
    check_tls_files(transport).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let tls = &transport.tls;
    let files = [&tls.cert_path, &tls.key_path, &tls.client_ca_path]
        .into_iter()
        .flatten();
    Ok(files.map(|path| format!("tls        {}", path.display())).collect())
}

/// The certificate, its key and the client CAs are well-formed and match.
fn tls_context(config: &Config) -> Result<Vec<String>, Vec<String>> {
    let transport = &config.transport;
    if transport.mode == TransportMode::Http || transport.acme.domain.is_some() {
        return Ok(Vec::new());
    }
    match build_tls_context(transport) {
        // `tls_files` reports files that cannot be read.
        Ok(_) | Err(TlsContextError::File(_)) => Ok(Vec::new()),
        Err(error) => Err(vec![error.to_string()]),
    }
}

/// The data directory, if it exists, is a directory that this user can read.
fn data_dir(config: &Config) -> Result<Vec<String>, Vec<String>> {
    if !config.storage.mode.has_directory() {
        return Ok(Vec::new());
    }
    let path = &config.storage.data_dir;
    let reason = match fs::metadata(path) {
        Ok(found) if !found.is_dir() => "is not a directory".into(),
        // The start creates it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => error.to_string(),
        Ok(_) => match fs::read_dir(path).and_then(|_| holds_store(path)) {
            Ok(_) => return Ok(Vec::new()),
            Err(error) => error.to_string(),
        },
    };
    Err(vec![format!("storage.data_dir: {}: {reason}", path.display())])
}

fn open_file(path: &Path) -> Result<(), String> {
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    // Opening a pipe would wait for a writer.
    if !found.is_file() {
        return Err("is not a regular file".into());
    }
    fs::File::open(path)
        .map(drop)
        .map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests;
