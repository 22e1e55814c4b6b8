//! Loading: the sources in their order, then validation. Nothing stops at the first problem.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{
    file::{self, Unreadable, is_caddyfile, is_yaml},
    layers::Layers,
    legacy,
    problem::{LoadError, Report, Warning},
    rails,
    sections::Config,
    toml_file,
    validate::{self, Rules},
    variables,
};
use crate::settings::{
    Origin, Table,
    text::{did_you_mean, quote},
};

/// The profiles with built-in defaults: the files that the crate ships.
const PROFILES: [(&str, &str); 5] = [
    ("default", include_str!("../../config/default.toml")),
    ("dev", include_str!("../../config/dev.toml")),
    ("prod", include_str!("../../config/prod.toml")),
    ("prod-tls", include_str!("../../config/prod-tls.toml")),
    ("prod-mtls", include_str!("../../config/prod-mtls.toml")),
];

/// Where to load a configuration from. The default: `./config`, no profile, no file, the
/// variables of this process.
#[derive(Debug, Clone, Default)]
pub struct ConfigLoadOptions {
    /// The directory that holds `config/`. Empty: the working directory.
    pub base_dir: PathBuf,
    /// `--profile`: `default`, `dev`, `prod`, `prod-tls`, `prod-mtls`, or a name for which
    /// there is a `config/<name>.toml`.
    pub profile: Option<String>,
    /// `--config`: a TOML file, or the Rails form when it ends in `.yml` or `.yaml`.
    pub config_path: Option<PathBuf>,
    /// `--env`: the section of the Rails form; else `RAILS_ENV`, else `development`. A TOML file
    /// has no such sections and ignores it.
    pub env: Option<String>,
    /// The environment variables; `None`: those of this process.
    pub variables: Option<BTreeMap<String, String>>,
}

/// A valid configuration, and how it came about.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The merged configuration.
    pub config: Config,
    /// Settings that work but should be changed.
    pub warnings: Vec<Warning>,
    /// Where each value came from.
    pub layers: Layers,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

impl Config {
    /// Loads and validates a configuration.
    ///
    /// # Errors
    ///
    /// Every problem of every source, at once.
    pub fn load(options: &ConfigLoadOptions) -> Result<Loaded, LoadError> {
        let mut loader = Loader::new(options);
        match options.config_path.as_deref() {
            Some(path) if is_caddyfile(path) => loader.report.unreadable(
                &path.to_string_lossy(),
                0,
                "is a Caddyfile, which configures the Caddy server: this server reads TOML, or \
                 config/durable_streams.yml with --env for a Rails app; \
                 the section \"Configuration\" of the README describes both",
            ),
            Some(path) if is_yaml(path) => loader.rails_layers(path),
            _ => loader.toml_layers(),
        }
        loader.finish()
    }
}

struct Loader<'a> {
    options: &'a ConfigLoadOptions,
    variables: BTreeMap<String, String>,
    layers: Layers,
    report: Report,
    files: Vec<PathBuf>,
    rules: Rules,
}

impl<'a> Loader<'a> {
    fn new(options: &'a ConfigLoadOptions) -> Self {
        Self {
            options,
            variables: options.variables.clone().unwrap_or_else(process_variables),
            layers: Layers::default(),
            report: Report::default(),
            files: Vec::new(),
            rules: Rules::default(),
        }
    }

    /// The profile's defaults, `config/*.toml`, `--config`, variables.
    fn toml_layers(&mut self) {
        let profile = self.options.profile.as_deref().unwrap_or("default");
        let directory = self.options.base_dir.join("config");
        let own_file = directory.join(format!("{profile}.toml"));
        let built_in = PROFILES.iter().find(|(name, _)| *name == profile);
        if built_in.is_none() && (!is_plain_name(profile) || !own_file.is_file()) {
            self.unknown_profile(profile, &own_file);
            return;
        }
        self.rules.profile = Some(profile.into());
        if let Some((name, text)) = built_in {
            self.lay(&toml_file::parse_profile(text, name), &[]);
        }
        self.toml_layer(&directory.join("default.toml"), false);
        if profile != "default" {
            self.toml_layer(&own_file, false);
        }
        self.toml_layer(&directory.join("local.toml"), false);
        if let Some(path) = &self.options.config_path {
            self.toml_layer(path, true);
        }
        let variables = variables::parse(&self.variables, &mut self.report);
        self.lay_renamed(variables);
    }

    /// The file's section and variables. No profiles and no `config/*.toml`: a Rails app's
    /// `config/` is not for this server.
    fn rails_layers(&mut self, path: &Path) {
        let shown = path.to_string_lossy();
        if let Some(profile) = &self.options.profile {
            let message =
                format!("the profile \"{profile}\" belongs to TOML files; choose a section of this one by --env");
            self.report.problem(&Origin::file(&shown, 0), "", message);
        }
        let env = self.options.env.as_ref().or_else(|| self.variables.get("RAILS_ENV"));
        let env = env
            .filter(|env| !env.is_empty())
            .map_or("development", String::as_str)
            .to_owned();
        let variables = variables::parse(&self.variables, &mut self.report);
        if let Some(text) = self.read(path, true) {
            let form = rails::Form {
                text: &text,
                path: &shown,
                env: &env,
                variables: &self.variables,
                overrides: &variables,
            };
            if let Some(table) = rails::translate(&form, &mut self.report) {
                self.lay(&table, &rails::keys());
            }
        }
        self.rules.rails = Some(Origin::file(&shown, 0));
        self.lay_renamed(variables);
    }

    fn toml_layer(&mut self, path: &Path, required: bool) {
        let Some(text) = self.read(path, required) else {
            return;
        };
        if let Some(table) = toml_file::parse(&text, &path.to_string_lossy(), &mut self.report) {
            self.lay_renamed(table);
        }
    }

    fn lay_renamed(&mut self, mut table: Table) {
        legacy::rename_keys(&mut table, &self.layers, &mut self.report);
        self.lay(&table, &[]);
    }

    fn lay(&mut self, table: &Table, aliases: &[&str]) {
        self.layers.lay(table, aliases, &mut self.report);
    }

    /// A file's text. A missing file is no problem, unless it is required.
    fn read(&mut self, path: &Path, required: bool) -> Option<String> {
        match file::read(path) {
            Ok(text) => {
                self.files.push(path.into());
                Some(text)
            }
            Err(Unreadable::Missing) if !required => None,
            Err(reason) => {
                self.report
                    .unreadable(&path.to_string_lossy(), reason.line(), reason.to_string());
                None
            }
        }
    }

    fn unknown_profile(&mut self, profile: &str, own_file: &Path) {
        let names = PROFILES.map(|(name, _)| name);
        let message = format!(
            "the profile {} is none of {}, and there is no {}{}",
            quote(profile),
            names.join(", "),
            own_file.display(),
            did_you_mean(profile, names)
        );
        self.report.unreadable = true;
        self.report.problem(&Origin::Default, "--profile", message);
    }

    fn finish(mut self) -> Result<Loaded, LoadError> {
        let mut config = self.layers.extract(&mut self.report);
        if self.rules.rails.is_some() {
            rails::prefer_certificate(&mut config, &self.layers);
        }
        if !self.report.unreadable {
            validate::check(&config, &self.layers, &self.rules, &mut self.report);
        }
        if !self.report.problems.is_empty() {
            self.report.sort();
            return Err(LoadError {
                problems: self.report.problems,
                warnings: self.report.warnings,
            });
        }
        Ok(Loaded {
            config,
            warnings: self.report.warnings,
            layers: self.layers,
            files: self.files,
        })
    }
}

/// A name that cannot lead out of `config/`.
fn is_plain_name(profile: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !profile.is_empty() && profile.chars().all(is_plain)
}

/// Text that is not UTF-8 keeps its replacement character, which `variables` refuses.
fn process_variables() -> BTreeMap<String, String> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (lossy(name), lossy(value)))
        .collect()
}
