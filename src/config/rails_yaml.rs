//! The Rails form: one YAML file with a section for each environment, translated into the
//! schema.
//!
//! Relative paths in it are relative to the working directory, like those of every other
//! source; `bin/durable-streams` changes to the app's root first.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, LazyLock},
};

use super::{
    Config, erb,
    problem::{Report, Stage, did_you_mean},
    reader,
    sources::Origins,
    value::{Data, Origin, Table, Value, fill, find, quote, remove},
    yaml,
};

/// The file, and what is around it.
pub(super) struct Form<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a Arc<str>,
    /// The section to take.
    pub(super) env: &'a str,
    pub(super) variables: &'a BTreeMap<String, String>,
    /// What `DS_*` variables will lay over it: some defaults depend on it.
    pub(super) overrides: &'a Table,
}

/// How a value changes on its way into the schema.
type Convert = fn(&Data) -> Result<Data, String>;

/// Keys that mean one key of the schema. `port`, `bind` and `domain` mean several.
const ROWS: &[(&[&str], &[&str], Convert)] = &[
    (&["route"], &["http", "stream_base_path"], base_path),
    (&["tls", "cert"], &["transport", "tls", "cert_path"], same),
    (&["tls", "key"], &["transport", "tls", "key_path"], same),
    (
        &["storage", "long_poll_timeout"],
        &["transport", "connection", "long_poll_timeout_secs"],
        seconds,
    ),
    (
        &["storage", "sse_reconnect_interval"],
        &["transport", "connection", "sse_reconnect_interval_secs"],
        seconds,
    ),
    (&["storage", "max_file_handles"], &["storage", "max_open_files"], same),
    (&["storage", "lock_wait"], &["storage", "lock_wait_secs"], seconds),
    (&["log", "format"], &["observability", "format"], same),
    (&["log", "level"], &["observability", "rust_log"], level),
];

/// The form's keys besides the schema's.
pub(super) static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let rows = ROWS.iter().map(|(key, _, _)| key.join("."));
    rows.chain(["port", "bind", "domain"].map(String::from)).collect()
});

/// The section of the chosen environment, in the words of the schema.
pub(super) fn translate(form: &Form<'_>, report: &mut Report) -> Option<Table> {
    let template = erb::parse(form.text, form.path, report)?;
    let root = match yaml::parse(&template.text, form.path) {
        Ok(root) => root,
        Err(error) => {
            report.unreadable(form.path, error.line, error.message);
            return None;
        }
    };
    let mut section = pick(root, form, report)?;
    template.fill_in(&mut section, form.variables, report);
    let mut translation = Translation { table: section, report };
    translation.certificates(form.overrides);
    translation.rows();
    translation.listener();
    translation.leftovers("tls");
    translation.leftovers("log");
    translation.defaults(form.overrides);
    Some(translation.table)
}

/// A message with the form's keys where it has keys of its own.
pub(super) fn in_its_words(mut message: String) -> String {
    for (key, schema, _) in ROWS {
        message = message.replace(&schema.join("."), &key.join("."));
    }
    message
}

/// Certificate files that a variable gives take the place of automatic HTTPS, as those of
/// the file do.
pub(super) fn settle(config: &mut Config, origins: &Origins) {
    let from_domain =
        matches!(origins.of("transport.acme.domain"), Origin::File { key: Some(key), .. } if &**key == "domain");
    if from_domain && config.transport.tls.cert_path.is_some() {
        config.transport.acme.domain = None;
    }
}

/// The environment's section over the section `shared`, as Rails' `config_for` merges them.
fn pick(root: Value, form: &Form<'_>, report: &mut Report) -> Option<Table> {
    let Data::Table(mut sections) = root.data else {
        let message = format!("expected a section for each environment, found {}", root.data);
        report.unreadable(form.path, 1, message);
        return None;
    };
    let shared = sections.remove(SHARED).map(|shared| table_of(shared, SHARED, report));
    match (sections.remove(form.env), shared) {
        (Some(section), shared) => {
            let section = table_of(section, form.env, report)?;
            Some(merge(shared.flatten().unwrap_or_default(), section))
        }
        (None, Some(shared)) => shared,
        (None, None) => {
            let names: Vec<&str> = sections.keys().map(String::as_str).collect();
            let message = format!(
                "no section {} (--env, RAILS_ENV); there are: {}{}",
                quote(form.env),
                if names.is_empty() {
                    "none".into()
                } else {
                    names.join(", ")
                },
                did_you_mean(form.env, names.iter().copied())
            );
            report.unreadable(form.path, 0, message);
            None
        }
    }
}

/// The section that holds for every environment.
const SHARED: &str = "shared";

fn table_of(section: Value, name: &str, report: &mut Report) -> Option<Table> {
    match section.data {
        Data::Table(table) => Some(table),
        Data::Null => Some(Table::new()),
        other => {
            report.unreadable = true;
            let message = other.wrong_type("a section with keys of its own").message;
            report.problem(&section.origin, name, message);
            None
        }
    }
}

/// `over` laid over `under`, section by section.
fn merge(mut under: Table, over: Table) -> Table {
    for (key, mut value) in over {
        if let Data::Table(over) = &mut value.data
            && let Some(Value {
                data: Data::Table(under),
                ..
            }) = under.get_mut(&key)
        {
            *over = merge(std::mem::take(under), std::mem::take(over));
        }
        under.insert(key, value);
    }
    under
}

struct Translation<'a> {
    table: Table,
    report: &'a mut Report,
}

impl Translation<'_> {
    /// A certificate that is named but empty would leave the listener without TLS.
    fn certificates(&mut self, overrides: &Table) {
        for (section, field, schema) in [
            (&["tls"][..], "cert", "cert_path"),
            (&["tls"], "key", "key_path"),
            (&["transport", "tls"], "cert_path", "cert_path"),
            (&["transport", "tls"], "key_path", "key_path"),
        ] {
            let Some(Data::Table(fields)) = find(&self.table, section).map(|section| &section.data) else {
                continue;
            };
            let empty = fields.get(field).filter(|value| reader::is_empty(value));
            if let Some(value) = empty
                && find(overrides, &["transport", "tls", schema]).is_none()
            {
                let key = format!("{}.{field}", section.join("."));
                self.report.push(Stage::Validate, &value.origin, &key, reader::EMPTY);
            }
        }
    }

    fn rows(&mut self) {
        for (from, to, convert) in ROWS {
            let Some(value) = remove(&mut self.table, from) else {
                continue;
            };
            let key = from.join(".");
            match convert(&value.data) {
                Ok(data) => {
                    let origin = value.origin.written_as(&key);
                    self.put(to, Value::new(data, origin));
                }
                Err(message) => self.report.problem(&value.origin, &key, message),
            }
        }
    }

    /// Sets a key of the schema; the same thing said twice is a contradiction in waiting.
    fn put(&mut self, to: &[&str], value: Value) {
        let origin = value.origin.clone();
        if !fill(&mut self.table, to, value) {
            let other = find(&self.table, to).map_or_else(String::new, |other| format!(" ({})", other.origin));
            let message = format!("says the same as \"{}\"{other}; keep one of them", to.join("."));
            self.report.problem(&origin, &to.join("."), message);
        }
    }

    /// `port`, `bind`, `domain`: the public listener's address and transport.
    fn listener(&mut self) {
        let port = self.number("port");
        let bind = self.address("bind");
        let domain = self.domain();
        let ip = bind.as_ref().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |(ip, _)| *ip);
        match (&domain, port) {
            (Some((_, public_port, origin)), port) => {
                if let Some((port, at)) = port.filter(|(port, _)| port != public_port) {
                    let message = format!(
                        "{port} is not used: with a domain, the public listener is on {public_port}; \
                         another port is written as part of the domain"
                    );
                    self.report.warn(&at, "port", message);
                }
                let address = text(SocketAddr::new(ip, *public_port), origin);
                fill(&mut self.table, &["server", "bind_address"], address);
            }
            (None, Some((port, origin))) => {
                self.put(&["server", "bind_address"], text(SocketAddr::new(ip, port), &origin));
            }
            (None, None) => {
                if let Some((ip, origin)) = bind {
                    self.put(&["server", "bind_address"], text(SocketAddr::new(ip, 4437), &origin));
                }
            }
        }
        self.transport(domain.map(|(host, _, origin)| (host, origin)));
    }

    /// A domain or a certificate means TLS with HTTP/1.1 and HTTP/2; a domain alone means
    /// automatic HTTPS.
    fn transport(&mut self, domain: Option<(String, Origin)>) {
        let certificate = ["cert_path", "key_path"]
            .iter()
            .find_map(|field| find(&self.table, &["transport", "tls", field]))
            .map(|value| value.origin.clone());
        let Some(origin) = domain
            .as_ref()
            .map(|(_, origin)| origin)
            .or(certificate.as_ref())
            .cloned()
        else {
            return;
        };
        let words = |words: [&str; 2]| {
            let items = words.map(|word| text(word, &origin));
            Value::new(Data::List(items.into()), origin.clone())
        };
        fill(&mut self.table, &["transport", "mode"], text("tls", &origin));
        fill(
            &mut self.table,
            &["transport", "http", "versions"],
            words(["http1", "http2"]),
        );
        fill(
            &mut self.table,
            &["transport", "tls", "alpn_protocols"],
            words(["http/1.1", "h2"]),
        );
        if let (Some((host, origin)), None) = (domain, certificate) {
            fill(&mut self.table, &["transport", "acme", "domain"], text(host, &origin));
        }
    }

    fn number(&mut self, key: &str) -> Option<(u16, Origin)> {
        let value = remove(&mut self.table, &[key])?;
        let origin = value.origin.written_as(key);
        match super::schema::Scalar::read(&value.data) {
            Ok(number) => Some((number, origin)),
            Err(refusal) => {
                self.report.problem(&origin, key, refusal.message);
                None
            }
        }
    }

    fn address(&mut self, key: &str) -> Option<(IpAddr, Origin)> {
        let value = remove(&mut self.table, &[key])?;
        let origin = value.origin.written_as(key);
        match super::schema::Scalar::read(&value.data) {
            Ok(address) => Some((address, origin)),
            Err(refusal) => {
                self.report.push(refusal.stage, &origin, key, refusal.message);
                None
            }
        }
    }

    /// Host, port and place of `domain`.
    fn domain(&mut self) -> Option<(String, u16, Origin)> {
        let value = remove(&mut self.table, &["domain"])?;
        let origin = value.origin.written_as("domain");
        let parsed = value.data.as_text().and_then(|text| {
            let (host, port) = match text.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (text, 443),
            };
            super::validate::is_host(host).then(|| (host.to_owned(), port))
        });
        if let Some((host, port)) = parsed {
            return Some((host, port, origin));
        }
        let message = format!(
            "{} is not a host name, with or without a port, such as \"streams.example.com\"",
            value.data.as_text().map_or_else(|| value.data.to_string(), quote)
        );
        self.report.push(Stage::Validate, &origin, "domain", message);
        None
    }

    /// `tls` and `log` are no sections of the schema: whatever is left in them is unknown.
    fn leftovers(&mut self, section: &str) {
        let Some(value) = remove(&mut self.table, &[section]) else {
            return;
        };
        let Data::Table(rest) = value.data else {
            let message = value.data.wrong_type("a section with keys of its own").message;
            self.report.problem(&value.origin, section, message);
            return;
        };
        for (name, value) in rest {
            let key = format!("{section}.{name}");
            let hint = did_you_mean(&key, KEYS.iter().map(String::as_str));
            self.report.problem(&value.origin, &key, format!("unknown key{hint}"));
        }
    }

    /// Where a Rails app's defaults differ from the standalone server's.
    fn defaults(&mut self, overrides: &Table) {
        let text = |word: &str| Value::new(Data::Text(word.into()), Origin::RailsDefault);
        fill(&mut self.table, &["http", "stream_base_path"], text("/v1/streams"));
        let data_dir = ["storage", "data_dir"];
        if find(&self.table, &data_dir).is_some() || find(overrides, &data_dir).is_some() {
            fill(&mut self.table, &["storage", "mode"], text("acid"));
            let unlimited = Value::new(Data::Integer(0), Origin::RailsDefault);
            fill(&mut self.table, &["limits", "max_stream_bytes"], unlimited);
        }
    }
}

fn text(text: impl ToString, origin: &Origin) -> Value {
    Value::new(Data::Text(text.to_string()), origin.clone())
}

fn same(data: &Data) -> Result<Data, String> {
    Ok(data.clone())
}

/// `/v1/streams/*`, `/v1/streams/` and `/v1/streams` are one route.
fn base_path(data: &Data) -> Result<Data, String> {
    let text = data
        .as_text()
        .ok_or_else(|| data.wrong_type("a path such as \"/v1/streams/*\"").message)?;
    let path = text.strip_suffix("/*").unwrap_or(text);
    let path = path.trim_end_matches('/');
    Ok(Data::Text(if path.is_empty() { "/" } else { path }.into()))
}

/// Caddy wrote its levels in capitals.
fn level(data: &Data) -> Result<Data, String> {
    Ok(match data {
        Data::Plain(text) | Data::Text(text) if text.chars().all(|c| c.is_ascii_uppercase()) => {
            Data::Text(text.to_lowercase())
        }
        other => other.clone(),
    })
}

/// `30s`, `5m`, `1h`, `500ms` or plain seconds, in whole seconds. Rounded up: a short wait
/// must not become none, because 0 has a meaning of its own.
fn seconds(data: &Data) -> Result<Data, String> {
    let refuse = || data.wrong_type("a time such as 30s, 5m or 500ms").message;
    let text = data.as_word().ok_or_else(refuse)?.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let number: f64 = digits.trim().parse().map_err(|_| refuse())?;
    let millis = match unit {
        "ms" => 1.0,
        "" | "s" => 1000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return Err(refuse()),
    };
    let millis = number * millis;
    if !(0.0..1e15).contains(&millis) {
        return Err(refuse());
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let millis = millis.round() as i128;
    Ok(Data::Integer((millis + 999) / 1000))
}
