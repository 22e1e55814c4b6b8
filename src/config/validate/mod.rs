//! Validation of the merged values, each and together.
//!
//! One function for each subject; each reports everything it finds. Values that could not be read
//! are skipped, and so are contradictions with their defaults. Messages write keys in braces, such
//! as `{transport.tls.key_path}`; the report shows the name that the form has for them.

mod listeners;
mod paths;
mod storage;
mod transport;

use super::{layers::Layers, problem::Report, schema::Schema, sections::Config};
use crate::{
    auth::AuthMode,
    settings::{
        Origin, Stage,
        text::{nearest, quote},
    },
};

const HOW_TO_AUTH: &str = "write auth.verify_key, or auth.mode = \"none\" for an open server";

/// Rules beyond the schema, by how the server was started.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The profile, for TOML.
    pub(super) profile: Option<String>,
    /// The file, for the Rails form.
    pub(super) rails: Option<Origin>,
}

/// Reports every problem of `config`.
pub(super) fn check(config: &Config, layers: &Layers, rules: &Rules, report: &mut Report) {
    let mut checker = Checker {
        config,
        layers,
        rails: rules.rails.is_some(),
        report,
    };
    checker.transport_mode();
    checker.http_versions();
    checker.tls_versions();
    checker.acme();
    checker.proxy();
    checker.identity();
    checker.internal();
    checker.base_path();
    checker.public_url();
    checker.cors_origins();
    checker.auth(rules);
    checker.ranges();
    checker.sizes();
    checker.log_filter();
    checker.storage();
    checker.open_server();
}

struct Checker<'a> {
    config: &'a Config,
    layers: &'a Layers,
    /// Show keys by their names in the Rails form.
    rails: bool,
    report: &'a mut Report,
}

impl Checker<'_> {
    /// Reports that a key's value is wrong. `keys` are all that the verdict rests on; it is shown
    /// at the first of them that is written somewhere.
    fn fail(&mut self, keys: &[&str], message: impl Into<String>) {
        if keys.iter().any(|key| self.layers.is_invalid(key)) {
            return;
        }
        let (key, origin) = self.place(keys);
        let message = self.name_keys(message.into());
        self.report.push(Stage::Validate, &origin, &key, message);
    }

    fn warn(&mut self, keys: &[&str], message: impl Into<String>) {
        let (key, origin) = self.place(keys);
        let message = self.name_keys(message.into());
        self.report.warn(&origin, &key, message);
    }

    fn place(&self, keys: &[&str]) -> (String, Origin) {
        let written = keys.iter().find(|key| self.layers.origin(key) != Origin::Default);
        let key = written.or(keys.first()).copied().unwrap_or_default();
        (key.into(), self.layers.origin(key))
    }

    /// Replaces keys in braces by their names in the form that was loaded.
    fn name_keys(&self, mut message: String) -> String {
        for entry in &Schema::get().keys {
            let name = match entry.key.rails {
                rails if self.rails && !rails.is_empty() => rails,
                _ => &entry.path,
            };
            message = message.replace(&format!("{{{}}}", entry.path), name);
        }
        message
    }

    fn auth(&mut self, rules: &Rules) {
        let Some(auth) = &self.config.auth else {
            self.auth_is_missing(rules);
            return;
        };
        if auth.mode == AuthMode::Jwt && auth.verify_key.as_os_str().is_empty() {
            let keys = ["auth.verify_key", "auth.mode", "auth.issuer", "auth.audience"];
            self.fail(&keys, format!("{{auth.verify_key}} is missing: {HOW_TO_AUTH}"));
        }
    }

    /// A production server is not open by oversight.
    fn auth_is_missing(&mut self, rules: &Rules) {
        if let Some(file) = &rules.rails {
            let message = format!("is missing: {HOW_TO_AUTH}");
            self.report.push(Stage::Validate, file, "auth", message);
        }
        if let Some(profile) = rules.profile.as_deref().filter(|name| name.starts_with("prod")) {
            let message = format!("is missing, and the profile {profile} needs it: {HOW_TO_AUTH}");
            self.fail(&["auth"], message);
        }
    }

    /// Warns of a server that is open by default.
    fn open_server(&mut self) {
        if self.config.auth.is_none() && self.report.problems.is_empty() {
            let pages = match self.config.http.cors_origins.trim() {
                "*" => ", and so may any web page that is open in a browser that reaches it",
                _ => "",
            };
            let message = format!(
                "no authentication configured: anyone who can reach {} may read, write and delete every \
                 stream{pages}. Set auth.verify_key to the public key of the app that signs tokens, or \
                 server.bind_address = \"127.0.0.1:{}\" for this machine alone; \
                 auth.mode = \"none\" keeps the server open and ends this warning",
                self.config.server.bind_address,
                self.config.server.bind_address.port()
            );
            self.warn(&["auth"], message);
        }
    }

    /// Numbers in the ranges that their keys declare.
    fn ranges(&mut self) {
        let merged = serde_json::to_value(self.config).unwrap_or_default();
        for entry in &Schema::get().keys {
            let number = entry.value(&merged).and_then(serde_json::Value::as_u64);
            if let Some(message) = number.and_then(|number| entry.key.out_of_range(number)) {
                self.fail(&[&entry.path], message);
            }
        }
    }

    /// Sizes that contradict each other.
    fn sizes(&mut self) {
        let limits = &self.config.limits;
        if limits.max_body_bytes > limits.max_inflight_bytes {
            let message = format!(
                "{{limits.max_body_bytes}} ({}) is more than {{limits.max_inflight_bytes}} ({}): such a body could \
                 never be accepted",
                limits.max_body_bytes, limits.max_inflight_bytes
            );
            self.fail(&["limits.max_body_bytes", "limits.max_inflight_bytes"], message);
        }
        let largest = limits.max_stream_bytes;
        let mut kept = self.config.retention.rules.iter().filter_map(|rule| rule.max_bytes);
        if largest > 0 && kept.any(|kept| kept > largest) {
            let message = format!(
                "a rule keeps more than {{limits.max_stream_bytes}} ({largest}): appends are refused (413) before the \
                 rule removes anything"
            );
            self.warn(&["retention.rules"], message);
        }
    }

    fn log_filter(&mut self) {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let filter = &self.config.observability.rust_log;
        let keys = ["observability.rust_log"];
        // Without the feature `cli` nothing here installs a subscriber.
        #[cfg(feature = "cli")]
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(filter) {
            self.fail(&keys, format!("{} is not a log filter: {error}", quote(filter)));
            return;
        }
        // A single word is a filter for the target of that name, so a misspelt level would turn the
        // log off.
        for word in filter.split(',').map(str::trim).filter(|word| !word.contains('=')) {
            let lower = word.to_ascii_lowercase();
            if LEVELS.contains(&lower.as_str()) {
                continue;
            }
            if let Some(level) = nearest(&lower, LEVELS) {
                self.fail(
                    &keys,
                    format!("{} is not a log level (did you mean \"{level}\"?)", quote(word)),
                );
            }
        }
    }
}
