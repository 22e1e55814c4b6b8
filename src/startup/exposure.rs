//! Warnings about files that other users of the machine can read or write. The start goes on: the
//! operator knows who else is on the machine.

use std::path::Path;

use crate::{auth::AuthMode, config::Config, private_files::exposure};

const READABLE: u32 = 0o077;
/// A group may share TLS keys, as Debian's `ssl-cert` does.
const READABLE_BY_ALL: u32 = 0o007;
const WRITABLE_BY_ALL: u32 = 0o002;

/// One warning for each such file.
#[must_use]
pub fn exposures(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let acme = &config.transport.acme;
    let automatic = acme.domain.is_some();
    if config.storage.mode.has_directory() || automatic && acme.cache_dir.is_none() {
        found.extend(directory("storage.data_dir", &config.storage.data_dir));
    }
    if let Some(dir) = acme.cache_dir.as_ref().filter(|_| automatic) {
        found.extend(directory("transport.acme.cache_dir", dir));
    }
    if let Some(key) = &config.transport.tls.key_path {
        let advice = "so other users can read the private key: chmod o-rwx it";
        found.extend(exposure("transport.tls.key_path", key, READABLE_BY_ALL, advice));
    }
    let auth = config.auth.as_ref().filter(|auth| auth.mode == AuthMode::Jwt);
    if let Some(auth) = auth {
        let advice = "so any user can add a key: chmod o-w it";
        found.extend(exposure("auth.verify_key", &auth.verify_key, WRITABLE_BY_ALL, advice));
    }
    found
}

fn directory(key: &str, dir: &Path) -> Option<String> {
    let advice = format!(
        "so other users can read it: chmod -R go-rwx {}, once, with the server stopped",
        dir.display()
    );
    exposure(key, dir, READABLE, &advice)
}
