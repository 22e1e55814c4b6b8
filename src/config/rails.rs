//! The Rails form: one YAML file with a section for each environment, translated into the
//! schema.
//!
//! Relative paths in it are relative to the working directory, like those of every other
//! source; `bin/durable-streams` changes to the app's root first.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use super::{
    erb,
    host::is_host,
    layers::{EMPTY, Layers},
    problem::Report,
    schema::Schema,
    sections::Config,
    tree::{find, merge, remove, set_if_absent},
    yaml,
};
use crate::settings::{
    Data, Origin, Refusal, Setting, Stage, Table, Value, duration,
    text::{did_you_mean, quote},
};

/// The file, and what surrounds it.
pub(super) struct Form<'a> {
    pub(super) text: &'a str,
    pub(super) path: &'a str,
    /// The section to take.
    pub(super) env: &'a str,
    pub(super) variables: &'a BTreeMap<String, String>,
    /// The keys that `DS_*` variables override: some defaults depend on them.
    pub(super) overrides: &'a Table,
}

/// The form's keys besides the schema's. The first three mean several keys of the schema.
pub(super) fn keys() -> Vec<&'static str> {
    let renamed = Schema::get().rails_names().map(|(rails, _)| rails);
    ["port", "bind", "domain"].into_iter().chain(renamed).collect()
}

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
    translation.refuse_empty_certificates(form.overrides);
    translation.rename();
    translation.listener();
    translation.report_leftovers("tls");
    translation.report_leftovers("log");
    translation.apply_defaults(form.overrides);
    Some(translation.table)
}

/// Certificate files given by variables replace automatic HTTPS, as those of the file do.
pub(super) fn prefer_certificate(config: &mut Config, layers: &Layers) {
    let origin = layers.origin("transport.acme.domain");
    let from_domain = matches!(origin, Origin::File { key: Some(key), .. } if key == "domain");
    if from_domain && config.transport.tls.cert_path.is_some() {
        config.transport.acme.domain = None;
    }
}

/// The environment's section over the section `shared`, as Rails' `config_for` merges them.
fn pick(root: Value, form: &Form<'_>, report: &mut Report) -> Option<Table> {
    const SHARED: &str = "shared";
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
            let list = if names.is_empty() {
                "none".into()
            } else {
                names.join(", ")
            };
            let message = format!(
                "no section {} (--env, RAILS_ENV); there are: {list}{}",
                quote(form.env),
                did_you_mean(form.env, names.iter().copied())
            );
            report.unreadable(form.path, 0, message);
            None
        }
    }
}

fn table_of(section: Value, name: &str, report: &mut Report) -> Option<Table> {
    match section.data {
        Data::Table(table) => Some(table),
        Data::Null => Some(Table::new()),
        other => {
            report.unreadable = true;
            report.problem(&section.origin, name, not_a_section(&other));
            None
        }
    }
}

fn not_a_section(data: &Data) -> String {
    Refusal::wrong_type(data, "a section with keys of its own").message
}

struct Translation<'a> {
    table: Table,
    report: &'a mut Report,
}

impl Translation<'_> {
    /// A certificate that is named but empty would leave the listener without TLS.
    fn refuse_empty_certificates(&mut self, overrides: &Table) {
        for (section, field, schema) in [
            ("tls", "cert", "transport.tls.cert_path"),
            ("tls", "key", "transport.tls.key_path"),
            ("transport.tls", "cert_path", "transport.tls.cert_path"),
            ("transport.tls", "key_path", "transport.tls.key_path"),
        ] {
            let Some(Data::Table(fields)) = find(&self.table, section).map(|section| &section.data) else {
                continue;
            };
            let empty = fields.get(field).filter(|value| value.is_empty());
            if let Some(value) = empty
                && find(overrides, schema).is_none()
            {
                let key = format!("{section}.{field}");
                self.report.push(Stage::Validate, &value.origin, &key, EMPTY);
            }
        }
    }

    /// Moves the keys that have another name in the schema.
    fn rename(&mut self) {
        for (rails, path) in Schema::get().rails_names() {
            let Some(value) = remove(&mut self.table, rails) else {
                continue;
            };
            match convert(path, &value.data) {
                Ok(data) => {
                    let origin = value.origin.written_as(rails);
                    self.put(path, Value::new(data, origin));
                }
                Err(refusal) => self.report.problem(&value.origin, rails, refusal.message),
            }
        }
    }

    /// Sets a key of the schema, which must not be set twice.
    fn put(&mut self, path: &str, value: Value) {
        let origin = value.origin.clone();
        if !set_if_absent(&mut self.table, path, value) {
            let other = find(&self.table, path).map_or_else(String::new, |other| format!(" ({})", other.origin));
            let message = format!("says the same as \"{path}\"{other}; keep one of them");
            self.report.problem(&origin, path, message);
        }
    }

    /// `port`, `bind`, `domain`: the public listener's address and transport.
    fn listener(&mut self) {
        let port: Option<(u16, Origin)> = self.take("port");
        let bind: Option<(IpAddr, Origin)> = self.take("bind");
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
                let address = Value::text(SocketAddr::new(ip, *public_port), origin);
                set_if_absent(&mut self.table, "server.bind_address", address);
            }
            (None, Some((port, origin))) => {
                let address = Value::text(SocketAddr::new(ip, port), &origin);
                self.put("server.bind_address", address);
            }
            (None, None) => {
                if let Some((ip, origin)) = bind {
                    let address = Value::text(SocketAddr::new(ip, 4437), &origin);
                    self.put("server.bind_address", address);
                }
            }
        }
        self.transport(domain.map(|(host, _, origin)| (host, origin)));
    }

    /// A domain or a certificate means TLS with HTTP/1.1 and HTTP/2; a domain alone means
    /// automatic HTTPS.
    fn transport(&mut self, domain: Option<(String, Origin)>) {
        let certificate = ["transport.tls.cert_path", "transport.tls.key_path"]
            .iter()
            .find_map(|path| find(&self.table, path))
            .map(|value| value.origin.clone());
        let from_domain = domain.as_ref().map(|(_, origin)| origin.clone());
        let Some(origin) = from_domain.or_else(|| certificate.clone()) else {
            return;
        };
        let table = &mut self.table;
        set_if_absent(table, "transport.mode", Value::text("tls", &origin));
        let versions = Value::words(&["http1", "http2"], &origin);
        set_if_absent(table, "transport.http.versions", versions);
        let names = Value::words(&["http/1.1", "h2"], &origin);
        set_if_absent(table, "transport.tls.alpn_protocols", names);
        if let (Some((host, origin)), None) = (domain, certificate) {
            set_if_absent(table, "transport.acme.domain", Value::text(host, &origin));
        }
    }

    /// The value of a key that only this form has.
    fn take<T: Setting>(&mut self, key: &str) -> Option<(T, Origin)> {
        let value = remove(&mut self.table, key)?;
        let origin = value.origin.written_as(key);
        match T::read(&value) {
            Ok(read) => Some((read, origin)),
            Err(refusals) => {
                for refusal in refusals {
                    self.report.push(refusal.stage, &origin, key, refusal.message);
                }
                None
            }
        }
    }

    /// Host, port and origin of `domain`.
    fn domain(&mut self) -> Option<(String, u16, Origin)> {
        let value = remove(&mut self.table, "domain")?;
        let origin = value.origin.written_as("domain");
        let parsed = value.data.as_text().and_then(|text| {
            let (host, port) = match text.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (text, 443),
            };
            is_host(host).then(|| (host.to_owned(), port))
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

    /// `tls` and `log` are no sections of the schema: the rest of their keys is unknown.
    fn report_leftovers(&mut self, section: &str) {
        let Some(value) = remove(&mut self.table, section) else {
            return;
        };
        let Data::Table(rest) = value.data else {
            self.report.problem(&value.origin, section, not_a_section(&value.data));
            return;
        };
        for (name, value) in rest {
            let key = format!("{section}.{name}");
            let hint = did_you_mean(&key, keys());
            self.report.problem(&value.origin, &key, format!("unknown key{hint}"));
        }
    }

    /// Defaults of this form that differ from the schema's.
    fn apply_defaults(&mut self, overrides: &Table) {
        let table = &mut self.table;
        let text = |text: &str| Value::text(text, &Origin::RailsDefault);
        set_if_absent(table, "http.stream_base_path", text("/v1/streams"));
        for (place, mode) in [("storage.url", "postgres"), ("storage.data_dir", "acid")] {
            if find(table, place).is_some() || find(overrides, place).is_some() {
                set_if_absent(table, "storage.mode", text(mode));
                let unlimited = Value::new(Data::Integer(0), Origin::RailsDefault);
                set_if_absent(table, "limits.max_stream_bytes", unlimited);
            }
        }
    }
}

/// A value of this form as the schema has it.
fn convert(path: &str, data: &Data) -> Result<Data, Refusal> {
    match path {
        "http.stream_base_path" => base_path(data),
        "observability.rust_log" => Ok(level(data)),
        path if path.ends_with("_secs") => {
            let seconds = data.as_word().and_then(duration::seconds);
            let seconds = seconds.ok_or_else(|| Refusal::wrong_type(data, "a time such as 30s, 5m or 500ms"))?;
            Ok(Data::Integer(seconds.into()))
        }
        _ => Ok(data.clone()),
    }
}

/// `/v1/streams/*`, `/v1/streams/` and `/v1/streams` are one route.
fn base_path(data: &Data) -> Result<Data, Refusal> {
    let text = data
        .as_text()
        .ok_or_else(|| Refusal::wrong_type(data, "a path such as \"/v1/streams/*\""))?;
    let path = text.strip_suffix("/*").unwrap_or(text).trim_end_matches('/');
    Ok(Data::Text(if path.is_empty() { "/" } else { path }.into()))
}

/// Caddy's levels are in capitals.
fn level(data: &Data) -> Data {
    match data {
        Data::Plain(text) | Data::Text(text) if text.chars().all(|c| c.is_ascii_uppercase()) => {
            Data::Text(text.to_lowercase())
        }
        other => other.clone(),
    }
}
