//! `check`: everything that a start would find wrong with the configuration, without starting.

use std::{io::Write, path::Path};

use crate::{
    auth::KeySet,
    cli::error::CliError,
    config::{AuthMode, Config, ConfigLoadOptions, Loaded, StorageMode, TransportMode},
    listener::{TlsContextError, build_tls_context},
    startup::{self, Phase, StartupError},
};

/// A look at what the configuration points at: what it found when all is well, else
/// everything that is not.
pub type Probe = fn(&Config) -> Result<Vec<String>, Vec<String>>;

/// What is looked at, by phase. Each module that reads files at the start has its probe here.
pub const PROBES: &[(Phase, Probe)] = &[
    (Phase::LoadKeys, key_files),
    (Phase::CheckTlsFiles, tls_files),
    (Phase::BuildTlsContext, tls_context),
    (Phase::StartServer, data_dir),
];

/// Validates the configuration and what it points at; says what it found in a few lines.
///
/// # Errors
///
/// Everything that is wrong; when `out` cannot be written to.
pub fn run(options: &ConfigLoadOptions, out: &mut dyn Write) -> Result<(), CliError> {
    run_with(options, PROBES, out)
}

/// [`run`] with other probes.
///
/// # Errors
///
/// Everything that is wrong; when `out` cannot be written to.
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

/// The keys that tokens are verified with, and what was left out of their files.
fn key_files(config: &Config) -> Result<Vec<String>, Vec<String>> {
    let Some(auth) = config.auth.as_ref().filter(|_| gated(config)) else {
        return Ok(Vec::new());
    };
    let path = &auth.verify_key;
    if !path.is_dir() {
        open_file(path).map_err(|reason| vec![format!("auth.verify_key: {}: {reason}", path.display())])?;
    }
    let keys = KeySet::load(path).map_err(|error| vec![format!("auth.verify_key: {error}")])?;
    let mut lines = vec![format!("auth       tokens verified by {}", path.display())];
    lines.extend(keys.notes().map(|note| format!("warning    {note}")));
    Ok(lines)
}

/// The TLS files are there, are files and can be read.
fn tls_files(config: &Config) -> Result<Vec<String>, Vec<String>> {
    let (tls, acme) = (&config.transport.tls, &config.transport.acme);
    let files = [
        ("transport.tls.cert_path", &tls.cert_path),
        ("transport.tls.key_path", &tls.key_path),
        ("transport.tls.client_ca_path", &tls.client_ca_path),
        ("transport.acme.root_ca_path", &acme.root_ca_path),
    ];
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    for (key, path) in files.iter().filter_map(|(key, path)| Some((key, path.as_ref()?))) {
        match open_file(path) {
            Ok(()) => found.push(format!("tls        {}", path.display())),
            Err(reason) => problems.push(format!("{key}: {}: {reason}", path.display())),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// The certificate, its key and the client CAs are what they should be, and belong together.
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

/// The data directory is a directory, if it is there.
fn data_dir(config: &Config) -> Result<Vec<String>, Vec<String>> {
    if config.storage.mode == StorageMode::Memory {
        return Ok(Vec::new());
    }
    let path = &config.storage.data_dir;
    let reason = match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => "is not a directory".into(),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => error.to_string(),
        // The start creates it.
        _ => return Ok(Vec::new()),
    };
    Err(vec![format!("storage.data_dir: {}: {reason}", path.display())])
}

fn open_file(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    })?;
    if metadata.is_dir() {
        return Err("is a directory, not a file".into());
    }
    // Opening a pipe would wait for a writer.
    if !metadata.is_file() {
        return Err("is not a regular file".into());
    }
    std::fs::File::open(path).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
