//! Configuration files, read as a start reads them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::split_at;
use crate::config::{Config, ConfigLoadOptions};

/// The Rails form. What stands behind a NUL is the value of the variable `X`, of which an ERB tag
/// may make use.
pub fn rails_yaml(data: &[u8]) {
    let (text, variable) = split_at(data, 0).unwrap_or((data, b"4437"));
    with_file("durable_streams.yml", text, |path| load(path, variable));
}

/// The TOML form. What stands behind a NUL is the value of the variables.
pub fn toml(data: &[u8]) {
    let (text, variable) = split_at(data, 0).unwrap_or((data, b"info"));
    with_file("server.toml", text, |path| load(path, variable));
}

fn load(path: &Path, variable: &[u8]) {
    let value = String::from_utf8_lossy(variable).into_owned();
    let variables = ["X", "DS_OBSERVABILITY__LEVEL", "DS_PROXY__TRUSTED_PROXIES"];
    let options = ConfigLoadOptions {
        base_dir: PathBuf::from("/nonexistent"),
        config_path: Some(path.to_owned()),
        env: Some("production".to_owned()),
        variables: Some(BTreeMap::from(variables.map(|name| (name.to_owned(), value.clone())))),
        profile: None,
    };
    match Config::load(&options) {
        Ok(loaded) => assert!(loaded.config.http.stream_base_path.starts_with('/')),
        Err(error) => {
            assert!(!error.problems().is_empty());
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Runs `look` on a file of this content, which is gone afterwards.
pub(super) fn with_file<T>(name: &str, content: &[u8], look: impl FnOnce(&Path) -> T) -> T {
    let path = std::env::temp_dir().join(format!("durable-streams-fuzz-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    let done = look(&path);
    std::fs::remove_file(&path).unwrap();
    done
}
