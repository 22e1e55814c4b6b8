//! The layers, in their order.
//!
//! A source is read into a tree of values with origins, and each tree is laid over the
//! configuration in turn. Nothing stops at the first problem.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Config, legacy,
    problem::{LoadError, Report, Warning, did_you_mean},
    rails_yaml, reader, toml_file, validate,
    value::{Origin, Table},
    variables,
};

/// No configuration is near this; a log or a data file given by mistake is soon past it.
const LARGEST_FILE: u64 = 1024 * 1024;

/// The profiles with built-in defaults: the very files that the crate ships, so that the two
/// cannot differ.
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
    /// `--env`: the section of the Rails form; else `RAILS_ENV`, else `development`.
    /// A TOML file has no such sections and takes no notice.
    pub env: Option<String>,
    /// The environment variables; `None`: those of this process.
    pub variables: Option<BTreeMap<String, String>>,
}

/// A valid configuration, and what is known about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The merged configuration.
    pub config: Config,
    /// What works, but should be changed.
    pub warnings: Vec<Warning>,
    /// Where each value came from.
    pub origins: Origins,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// Where each value came from.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    set: BTreeMap<String, Origin>,
    spoiled: BTreeSet<String>,
}

impl Origins {
    /// Where the value of a key such as `transport.mode` came from.
    #[must_use]
    pub fn of(&self, key: &str) -> &Origin {
        self.set.get(key).unwrap_or(&Origin::Default)
    }

    pub(super) fn set(&mut self, key: &str, origin: &Origin) {
        self.set.insert(key.into(), origin.clone());
    }

    /// Notes that a value could not be read, so that nothing is concluded from its default.
    pub(super) fn spoiled(&mut self, key: &str) {
        self.spoiled.insert(key.into());
    }

    /// Whether the value of this key, or of one below it, could not be read.
    pub(super) fn is_spoiled(&self, key: &str) -> bool {
        self.spoiled
            .iter()
            .any(|spoiled| spoiled.starts_with(key) || key.starts_with(&format!("{spoiled}.")))
    }
}

impl Config {
    /// Loads and validates a configuration.
    ///
    /// # Errors
    ///
    /// Every problem of every source, at once.
    pub fn load(options: &ConfigLoadOptions) -> Result<Loaded, LoadError> {
        let mut loader = Loader::new(options);
        if let Some(path) = options.config_path.as_deref().filter(|path| is_caddyfile(path)) {
            let message = "is a Caddyfile, which configures the Caddy server: this server reads TOML, or \
                           config/durable_streams.yml with --env for a Rails app; \
                           the section \"Configuration\" of the README has both";
            loader.report.unreadable(&display(path), 0, message);
            return loader.finish();
        }
        let yaml = options.config_path.as_deref().filter(|path| is_yaml(path));
        match yaml {
            Some(path) => loader.rails_layers(path),
            None => loader.toml_layers(),
        }
        loader.finish()
    }
}

/// By its name, or by a line that only a Caddyfile has.
fn is_caddyfile(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if name.ends_with(".caddyfile") || name.split('.').next() == Some("caddyfile") {
        return true;
    }
    const DIRECTIVES: [&str; 6] = ["durable_streams", "reverse_proxy", "route", "handle", "jwtauth", "tls"];
    let is_block = |line: &str| {
        let (Some(first), Some("{")) = (line.split_whitespace().next(), line.split_whitespace().last()) else {
            return false;
        };
        DIRECTIVES.contains(&first) || first.starts_with(':') && first.len() > 1
    };
    !is_yaml(path) && read_bounded(path).is_ok_and(|text| text.lines().any(is_block))
}

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end.eq_ignore_ascii_case("yml") || end.eq_ignore_ascii_case("yaml"))
}

struct Loader<'a> {
    options: &'a ConfigLoadOptions,
    variables: BTreeMap<String, String>,
    config: Config,
    origins: Origins,
    report: Report,
    files: Vec<PathBuf>,
    rules: validate::Rules,
}

impl<'a> Loader<'a> {
    fn new(options: &'a ConfigLoadOptions) -> Self {
        Self {
            options,
            variables: options.variables.clone().unwrap_or_else(process_variables),
            config: Config::default(),
            origins: Origins::default(),
            report: Report::default(),
            files: Vec::new(),
            rules: validate::Rules::default(),
        }
    }

    /// Profile defaults, `config/*.toml`, `--config`, variables.
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
            self.apply(&toml_file::parse_profile(text, name), &[]);
        }
        let mut layers = vec![directory.join("default.toml")];
        if profile != "default" {
            layers.push(own_file);
        }
        layers.push(directory.join("local.toml"));
        for path in layers {
            self.toml_layer(&path, false);
        }
        if let Some(path) = &self.options.config_path {
            self.toml_layer(path, true);
        }
        let mut variables = variables::parse(&self.variables, &mut self.report);
        legacy::rewrite(&mut variables, &self.config, &mut self.report);
        self.apply(&variables, &[]);
    }

    /// The file's own environment and variables; no profiles and no `config/*.toml`, because
    /// a Rails app's `config/` is not ours to look into.
    fn rails_layers(&mut self, path: &Path) {
        if let Some(profile) = &self.options.profile {
            let message =
                format!("the profile \"{profile}\" belongs to TOML files; choose a section of this one by --env");
            self.report.problem(&Origin::file(&display(path), 0), "", message);
        }
        let env = self.options.env.as_ref().or_else(|| self.variables.get("RAILS_ENV"));
        let env = env
            .filter(|env| !env.is_empty())
            .map_or("development", String::as_str)
            .to_owned();
        let mut variables = variables::parse(&self.variables, &mut self.report);
        if let Some(text) = self.read(path, true) {
            let form = rails_yaml::Form {
                text: &text,
                path: &display(path),
                env: &env,
                variables: &self.variables,
                overrides: &variables,
            };
            let translated = rails_yaml::translate(&form, &mut self.report);
            if let Some(table) = translated {
                self.apply(&table, &rails_yaml::KEYS);
            }
        }
        self.rules.rails = Some(Origin::file(&display(path), 0));
        legacy::rewrite(&mut variables, &self.config, &mut self.report);
        self.apply(&variables, &[]);
        rails_yaml::settle(&mut self.config, &self.origins);
    }

    fn apply(&mut self, table: &Table, aliases: &[String]) {
        reader::apply(table, aliases, &mut self.config, &mut self.origins, &mut self.report);
    }

    fn toml_layer(&mut self, path: &Path, required: bool) {
        let Some(text) = self.read(path, required) else {
            return;
        };
        if let Some(mut table) = toml_file::parse(&text, &display(path), &mut self.report) {
            legacy::rewrite(&mut table, &self.config, &mut self.report);
            self.apply(&table, &[]);
        }
    }

    /// A file's text; a file that is not there is nothing, unless it was asked for.
    fn read(&mut self, path: &Path, required: bool) -> Option<String> {
        match read_bounded(path) {
            Ok(text) => {
                self.files.push(path.into());
                Some(text)
            }
            Err(Unreadable::Missing) if !required => None,
            Err(reason) => {
                self.report
                    .unreadable(&display(path), reason.line(), reason.to_string());
                None
            }
        }
    }

    fn unknown_profile(&mut self, profile: &str, own_file: &Path) {
        let names = PROFILES.map(|(name, _)| name);
        let message = format!(
            "the profile {} is none of {}, and there is no {}{}",
            super::value::quote(profile),
            names.join(", "),
            display(own_file),
            did_you_mean(profile, names)
        );
        self.report.unreadable = true;
        self.report.problem(&Origin::Default, "--profile", message);
    }

    fn finish(mut self) -> Result<Loaded, LoadError> {
        if !self.report.unreadable {
            validate::check(&self.config, &self.origins, &self.rules, &mut self.report);
        }
        if !self.report.problems.is_empty() {
            self.report.sort();
            return Err(LoadError {
                problems: self.report.problems,
                warnings: self.report.warnings,
            });
        }
        Ok(Loaded {
            config: self.config,
            warnings: self.report.warnings,
            origins: self.origins,
            files: self.files,
        })
    }
}

/// A name that cannot lead out of `config/`.
fn is_plain_name(profile: &str) -> bool {
    !profile.is_empty()
        && profile
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn display(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

/// What is not UTF-8 keeps its replacement character, which the variables' reader refuses.
fn process_variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("no such file")]
    Missing,
    #[error("is a directory, not a file")]
    Directory,
    #[error("larger than {} KiB: this is no configuration file", LARGEST_FILE / 1024)]
    TooLarge,
    #[error("not UTF-8 text: byte {byte} of line {line}")]
    NotUtf8 { line: usize, byte: usize },
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
}

impl Unreadable {
    fn line(&self) -> usize {
        match self {
            Self::NotUtf8 { line, .. } => *line,
            _ => 0,
        }
    }
}

/// Reads a regular file of bounded size; a byte order mark is dropped.
fn read_bounded(path: &Path) -> Result<String, Unreadable> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Unreadable::Missing,
        _ => Unreadable::Io(error),
    })?;
    if metadata.is_dir() {
        return Err(Unreadable::Directory);
    }
    let file = std::fs::File::open(path).map_err(Unreadable::Io)?;
    let mut bytes = Vec::new();
    let bound = LARGEST_FILE + 1;
    file.take(bound).read_to_end(&mut bytes).map_err(Unreadable::Io)?;
    if bytes.len() as u64 == bound {
        return Err(Unreadable::TooLarge);
    }
    let text =
        String::from_utf8(bytes).map_err(|error| not_utf8(error.as_bytes(), error.utf8_error().valid_up_to()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn not_utf8(bytes: &[u8], at: usize) -> Unreadable {
    let before = bytes.get(..at).unwrap_or_default();
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    Unreadable::NotUtf8 {
        line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        byte: at - line_start + 1,
    }
}
