//! Whether the values make sense, each for itself and together.
//!
//! One function for each matter; every one of them says everything it finds. A value that
//! could not be read is left out: what its default would contradict is nobody's mistake.

mod listeners;
mod paths;
mod transport;

pub(super) use transport::is_host;

use super::{
    AuthMode, Config,
    problem::{Report, Stage, nearest},
    sources::Origins,
    value::{Origin, quote},
};

const HOW_TO_AUTH: &str = "write auth.verify_key, or auth.mode = \"none\" for an open server";

/// What is stricter than the schema, by how the server was started.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The profile, when there are profiles.
    pub(super) profile: Option<String>,
    /// The file in the Rails form.
    pub(super) rails: Option<Origin>,
}

/// Puts everything that is wrong with `config` into the report.
pub(super) fn check(config: &Config, origins: &Origins, rules: &Rules, report: &mut Report) {
    let mut checker = Checker {
        config,
        origins,
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
    checker.numbers();
    checker.limit_ranges();
    checker.log_filter();
    checker.open_server();
}

struct Checker<'a> {
    config: &'a Config,
    origins: &'a Origins,
    /// Speak the words of the Rails form.
    rails: bool,
    report: &'a mut Report,
}

impl Checker<'_> {
    /// Says that a key's value is wrong. `keys` are all that the verdict rests on; it is shown
    /// at the first of them that is written somewhere.
    fn fail(&mut self, keys: &[&str], message: impl Into<String>) {
        if keys.iter().any(|key| self.origins.is_spoiled(key)) {
            return;
        }
        let (key, origin) = self.place(keys);
        let message = match self.rails {
            true => super::rails_yaml::in_its_words(message.into()),
            false => message.into(),
        };
        self.report.push(Stage::Validate, &origin, &key, message);
    }

    fn warn(&mut self, keys: &[&str], message: impl Into<String>) {
        let (key, origin) = self.place(keys);
        self.report.warn(&origin, &key, message);
    }

    fn place(&self, keys: &[&str]) -> (String, Origin) {
        let written = keys.iter().find(|key| *self.origins.of(key) != Origin::Default);
        let key = written.or(keys.first()).copied().unwrap_or_default();
        (key.into(), self.origins.of(key).clone())
    }

    fn auth(&mut self, rules: &Rules) {
        let Some(auth) = &self.config.auth else {
            self.auth_is_missing(rules);
            return;
        };
        if auth.mode == AuthMode::Jwt && auth.verify_key.as_os_str().is_empty() {
            let keys = ["auth.verify_key", "auth.mode", "auth.issuer", "auth.audience"];
            self.fail(&keys, format!("auth.verify_key is missing: {HOW_TO_AUTH}"));
        }
        const LONGEST: u64 = 300;
        if auth.leeway_secs > LONGEST {
            let message = format!("is more than {LONGEST}: expired tokens would live on for that long");
            self.fail(&["auth.leeway_secs"], message);
        }
    }

    /// What is meant for production is not open by oversight.
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

    /// A server that is open because nobody said otherwise, unless it will not even start.
    fn open_server(&mut self) {
        if self.config.auth.is_none() && self.report.problems.is_empty() {
            let pages = match self.config.http.cors_origins.trim() {
                "*" => ", and so may any web page that is open in a browser that reaches it",
                _ => "",
            };
            let message = format!(
                "there is none: anyone who reaches {} may read, write and delete every stream{pages}. \
                 Set auth.verify_key to the public key of the app that signs tokens, or \
                 server.bind_address = \"127.0.0.1:{}\" for this machine alone; \
                 auth.mode = \"none\" keeps the server open and ends this warning",
                self.config.server.bind_address,
                self.config.server.bind_address.port()
            );
            self.warn(&["auth"], message);
        }
    }

    /// Limits that are too narrow to work with, or too wide to bound anything.
    fn limit_ranges(&mut self) {
        let limits = &self.config.limits;
        let ranges = [
            ("limits.max_json_depth", limits.max_json_depth, 1000),
            (
                "limits.max_producers_per_stream",
                limits.max_producers_per_stream,
                100_000,
            ),
        ];
        for (key, value, max) in ranges {
            if !(1..=max).contains(&value) {
                self.fail(&[key], format!("must be from 1 to {max}, not {value}"));
            }
        }
    }

    /// Numbers for which 0, or next to nothing, is no server.
    fn numbers(&mut self) {
        let (limits, connection) = (&self.config.limits, &self.config.transport.connection);
        let storage = &self.config.storage;
        let positive = [
            ("limits.max_body_bytes", limits.max_body_bytes),
            ("limits.max_connections", limits.max_connections as u64),
            ("limits.max_live_readers", limits.max_live_readers as u64),
            ("limits.max_inflight_bytes", limits.max_inflight_bytes),
            ("limits.max_response_bytes", limits.max_response_bytes),
            (
                "limits.max_response_bytes_per_connection",
                limits.max_response_bytes_per_connection,
            ),
            (
                "transport.connection.long_poll_timeout_secs",
                connection.long_poll_timeout_secs,
            ),
            (
                "transport.connection.header_timeout_secs",
                connection.header_timeout_secs,
            ),
            ("transport.connection.idle_timeout_secs", connection.idle_timeout_secs),
            ("transport.connection.body_timeout_secs", connection.body_timeout_secs),
            (
                "transport.connection.body_total_timeout_secs",
                connection.body_total_timeout_secs,
            ),
            ("transport.connection.write_timeout_secs", connection.write_timeout_secs),
            (
                "transport.connection.handshake_timeout_secs",
                connection.handshake_timeout_secs,
            ),
            ("transport.connection.sse_heartbeat_secs", connection.sse_heartbeat_secs),
            ("transport.tls.reload_secs", self.config.transport.tls.reload_secs),
            ("storage.max_open_files", storage.max_open_files as u64),
            ("storage.acid_shard_count", storage.acid_shard_count as u64),
        ];
        for (key, value) in positive {
            if value == 0 {
                self.fail(&[key], "must be more than 0");
            }
        }
        if self.config.auth.as_ref().is_some_and(|auth| auth.reload_secs == 0) {
            self.fail(&["auth.reload_secs"], "must be more than 0");
        }
        self.sizes();
        self.durations();
    }

    fn sizes(&mut self) {
        let limits = &self.config.limits;
        const SMALLEST_HEAD: usize = 4096;
        if limits.max_header_bytes < SMALLEST_HEAD {
            let message = format!("is less than {SMALLEST_HEAD}: a token in a header or URL would not fit");
            self.fail(&["limits.max_header_bytes"], message);
        }
        if limits.max_body_bytes > limits.max_inflight_bytes {
            let message = format!(
                "limits.max_body_bytes ({}) is more than limits.max_inflight_bytes ({}): such a body could never be taken",
                limits.max_body_bytes, limits.max_inflight_bytes
            );
            self.fail(&["limits.max_body_bytes", "limits.max_inflight_bytes"], message);
        }
        let largest = limits.max_stream_bytes;
        let kept = self.config.retention.rules.iter().filter_map(|rule| rule.max_bytes);
        if largest > 0 && kept.clone().any(|kept| kept > largest) {
            let message = format!(
                "a rule keeps more than limits.max_stream_bytes ({largest}): a stream is refused more (413) before the \
                 rule gives anything up"
            );
            self.warn(&["retention.rules"], message);
        }
    }

    /// Far beyond these, a number of seconds is a number of milliseconds.
    fn durations(&mut self) {
        const DAY: u64 = 86_400;
        let (connection, server) = (&self.config.transport.connection, &self.config.server);
        let bounded = [
            ("server.drain_timeout_secs", server.drain_timeout_secs),
            ("storage.lock_wait_secs", self.config.storage.lock_wait_secs),
            (
                "transport.connection.long_poll_timeout_secs",
                connection.long_poll_timeout_secs,
            ),
            (
                "transport.connection.sse_reconnect_interval_secs",
                connection.sse_reconnect_interval_secs,
            ),
            (
                "transport.connection.header_timeout_secs",
                connection.header_timeout_secs,
            ),
            ("transport.connection.idle_timeout_secs", connection.idle_timeout_secs),
            ("transport.connection.body_timeout_secs", connection.body_timeout_secs),
            (
                "transport.connection.body_total_timeout_secs",
                connection.body_total_timeout_secs,
            ),
            ("transport.connection.write_timeout_secs", connection.write_timeout_secs),
            (
                "transport.connection.handshake_timeout_secs",
                connection.handshake_timeout_secs,
            ),
            ("transport.connection.sse_heartbeat_secs", connection.sse_heartbeat_secs),
        ];
        for (key, value) in bounded {
            if value > DAY {
                self.fail(&[key], format!("{value} seconds is more than a day"));
            }
        }
    }

    fn log_filter(&mut self) {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let filter = &self.config.observability.rust_log;
        let keys = ["observability.rust_log"];
        #[cfg(feature = "cli")]
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(filter) {
            self.fail(&keys, format!("{} is no log filter: {error}", quote(filter)));
            return;
        }
        // A word alone is a filter too: it shows everything of the target of that name, so
        // a misspelt level would turn the log off but for nothing.
        for word in filter.split(',').map(str::trim).filter(|word| !word.contains('=')) {
            let lower = word.to_ascii_lowercase();
            if LEVELS.contains(&lower.as_str()) {
                continue;
            }
            if let Some(level) = nearest(&lower, LEVELS) {
                self.fail(
                    &keys,
                    format!("{} is no log level (did you mean \"{level}\"?)", quote(word)),
                );
            }
        }
    }
}
