//! Through [`Config::load`], with real files.

mod documents;
mod erb;
mod generated;
mod layers;
mod legacy;
mod output;
mod problems;
mod rails;
mod validation;
mod variables;

use std::{collections::BTreeMap, fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::listener::TransportMode;
use crate::{
    engine::LimitsConfig,
    listener::{HttpVersion, TransportConfig},
    proxy::{ForwardedHeaders, IdentityMode},
    telemetry::LogFormat,
};

/// A directory with files and variables to load a configuration from.
pub(super) struct Fixture {
    directory: TempDir,
    options: ConfigLoadOptions,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("config")).unwrap();
        let options = ConfigLoadOptions {
            base_dir: directory.path().into(),
            variables: Some(BTreeMap::new()),
            ..ConfigLoadOptions::default()
        };
        Self { directory, options }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), content).unwrap();
        self
    }

    /// A file that `--config` names.
    pub(super) fn config(mut self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.options.config_path = Some(self.path(name));
        self.file(name, content)
    }

    pub(super) fn profile(mut self, profile: &str) -> Self {
        self.options.profile = Some(profile.into());
        self
    }

    pub(super) fn env(mut self, env: &str) -> Self {
        self.options.env = Some(env.into());
        self
    }

    pub(super) fn var(mut self, name: &str, value: &str) -> Self {
        self.options
            .variables
            .get_or_insert_default()
            .insert(name.into(), value.into());
        self
    }

    pub(super) fn load(&self) -> Result<Loaded, LoadError> {
        Config::load(&self.options)
    }

    #[track_caller]
    pub(super) fn ok(&self) -> Loaded {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The report, with the directory's path cut off.
    #[track_caller]
    pub(super) fn error(&self) -> String {
        self.cut(&self.load().unwrap_err().to_string())
    }

    pub(super) fn cut(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.directory.path().display()), "")
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let loaded = self.ok();
        loaded
            .warnings
            .iter()
            .map(|warning| self.cut(&warning.to_string()))
            .collect()
    }
}

/// Loads one TOML text.
pub(super) fn toml(text: &str) -> Fixture {
    Fixture::new().config("server.toml", text)
}

/// Loads one environment of one text in the Rails form.
pub(super) fn rails(env: &str, text: &str) -> Fixture {
    Fixture::new().config("config/durable_streams.yml", text).env(env)
}
