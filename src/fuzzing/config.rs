//! Configuration files, read as a start reads them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::split_at;
use crate::config::{Config, ConfigLoadOptions};

/// The Rails form. After a NUL comes the value of the variables, which an ERB tag may use.
pub fn rails_yaml(data: &[u8]) {
    loads_rails_yaml(data);
}

/// The TOML form. After a NUL comes the value of the variables.
pub fn toml(data: &[u8]) {
    loads_toml(data);
}

/// Whether the file was valid.
pub(super) fn loads_rails_yaml(data: &[u8]) -> bool {
    let (text, variable) = split_at(data, 0).unwrap_or((data, b"4437"));
    with_file("durable_streams.yml", text, |path| load(path, variable))
}

/// Whether the file was valid.
pub(super) fn loads_toml(data: &[u8]) -> bool {
    let (text, variable) = split_at(data, 0).unwrap_or((data, b"info"));
    with_file("server.toml", text, |path| load(path, variable))
}

/// Loads a file with variables that take any text.
fn load(path: &Path, variable: &[u8]) -> bool {
    let value = String::from_utf8_lossy(variable).into_owned();
    let variables = ["X", "DS_OBSERVABILITY__RUST_LOG", "DS_STORAGE__DATA_DIR"];
    let options = ConfigLoadOptions {
        base_dir: PathBuf::from("/nonexistent"),
        config_path: Some(path.to_owned()),
        env: Some("production".to_owned()),
        variables: Some(BTreeMap::from(variables.map(|name| (name.to_owned(), value.clone())))),
        profile: None,
    };
    match Config::load(&options) {
        Ok(loaded) => {
            assert!(loaded.config.http.stream_base_path.starts_with('/'));
            assert!(!loaded.to_toml().is_empty());
            true
        }
        Err(error) => {
            assert!(!error.problems().is_empty());
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// Runs `look` with a file of this content, which is removed afterwards.
pub(super) fn with_file<T>(name: &str, content: &[u8], look: impl FnOnce(&Path) -> T) -> T {
    let path = std::env::temp_dir().join(format!("durable-streams-fuzz-{}-{name}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    let done = look(&path);
    std::fs::remove_file(&path).unwrap();
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seeds of each form reach validation, merging with variables and rendering.
    #[test]
    fn seeds_of_configurations_are_valid() {
        let seed = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
            std::fs::read(path).unwrap()
        };
        for name in ["toml/default", "toml/dev"] {
            assert!(loads_toml(&seed(name)), "{name}");
        }
        for name in ["rails_yaml/readme", "rails_yaml/erb"] {
            assert!(loads_rails_yaml(&seed(name)), "{name}");
        }
        assert!(!loads_toml(b"[server]\nport = true\n"));
        assert!(!loads_rails_yaml(b"production: 5\n"));
    }
}
