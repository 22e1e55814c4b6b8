//! Keys of former versions: accepted, translated, and answered with a warning that names
//! their successor.

use super::{
    Config, TransportMode,
    problem::Report,
    value::{Data, Origin, Table, Value, fill, remove},
};

/// Rewrites the former keys of one source. `below` is what the sources below it have said.
pub(super) fn rewrite(source: &mut Table, below: &Config, report: &mut Report) {
    rewrite_port(source, report);
    rewrite_tls(source, below, report);
    rewrite_log(source, report);
}

/// `server.port` → `server.bind_address = "0.0.0.0:<port>"`
fn rewrite_port(source: &mut Table, report: &mut Report) {
    let Some(port) = remove(source, &["server", "port"]) else {
        return;
    };
    let digits = match &port.data {
        Data::Integer(number) => number.to_string(),
        Data::Plain(text) => text.clone(),
        other => {
            let message = other.wrong_type("a port number").message;
            report.problem(&port.origin, "server.port", message);
            return;
        }
    };
    if digits.parse::<u16>().is_err() {
        report.problem(
            &port.origin,
            "server.port",
            format!("expected a port number from 0 to 65535, found {digits}"),
        );
        return;
    }
    let address = Value::new(Data::Text(format!("0.0.0.0:{digits}")), port.origin);
    succeed(source, "server.port", &["server", "bind_address"], address, report);
}

/// `[tls]` → `[transport.tls]`, and the transport that it used to switch on.
fn rewrite_tls(source: &mut Table, below: &Config, report: &mut Report) {
    let mut found = None;
    for field in ["cert_path", "key_path"] {
        if let Some(value) = remove(source, &["tls", field]) {
            found = Some(value.origin.clone());
            let old = format!("tls.{field}");
            succeed(source, &old, &["transport", "tls", field], value, report);
        }
    }
    remove_if_empty(source, "tls");
    // A profile or file below that chose `tls` or `mtls` knows more than the old section did.
    let Some(origin) = found.filter(|_| below.transport.mode == TransportMode::Http) else {
        return;
    };
    let words = |words: &[&str]| {
        let items = words
            .iter()
            .map(|word| Value::new(Data::Text((*word).into()), origin.clone()));
        Value::new(Data::List(items.collect()), origin.clone())
    };
    let mode = Value::new(Data::Text("tls".into()), origin.clone());
    fill(source, &["transport", "mode"], mode);
    fill(source, &["transport", "http", "versions"], words(&["http1", "http2"]));
    fill(
        source,
        &["transport", "tls", "alpn_protocols"],
        words(&["http/1.1", "h2"]),
    );
}

/// `[log]` → `[observability]`
fn rewrite_log(source: &mut Table, report: &mut Report) {
    if let Some(value) = remove(source, &["log", "rust_log"]) {
        succeed(source, "log.rust_log", &["observability", "rust_log"], value, report);
    }
    remove_if_empty(source, "log");
}

/// Puts a former key's value under its successor, with a warning.
fn succeed(source: &mut Table, old: &str, new: &[&str], value: Value, report: &mut Report) {
    let successor = new.join(".");
    let written = |key: &str, origin: &Origin| match origin {
        Origin::Variable(_) => super::variables::name_of(key),
        _ => format!("\"{key}\""),
    };
    let origin = value.origin.clone();
    if fill(source, new, value) {
        let new = written(&successor, &origin);
        report.warn(&origin, old, format!("is a former key; write {new} instead"));
    } else {
        report.problem(
            &origin,
            old,
            format!("is the former key of \"{successor}\", which is set here too; remove this one"),
        );
    }
}

/// A section whose every key has moved is not an unknown one.
fn remove_if_empty(source: &mut Table, section: &str) {
    if source
        .get(section)
        .is_some_and(|value| matches!(&value.data, Data::Table(table) if table.is_empty()))
    {
        source.remove(section);
    }
}
