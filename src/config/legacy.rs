//! Former keys: accepted, renamed, and answered with a warning that names the new key.

use super::{
    layers::Layers,
    problem::Report,
    schema::variable_name,
    tree::{remove, set_if_absent},
};
use crate::settings::{Data, Origin, Refusal, Table, Value};

/// Renames the former keys of one source. `below` are the layers before it.
pub(super) fn rename_keys(source: &mut Table, below: &Layers, report: &mut Report) {
    rename_port(source, report);
    rename_tls(source, below, report);
    if let Some(value) = remove(source, "log.rust_log") {
        rename_key(source, "log.rust_log", "observability.rust_log", value, report);
    }
    remove_if_empty(source, "log");
}

/// `server.port` → `server.bind_address = "0.0.0.0:<port>"`
fn rename_port(source: &mut Table, report: &mut Report) {
    let Some(port) = remove(source, "server.port") else {
        return;
    };
    let digits = match &port.data {
        Data::Integer(number) => number.to_string(),
        Data::Plain(text) => text.clone(),
        other => {
            let message = Refusal::wrong_type(other, "a port number").message;
            report.problem(&port.origin, "server.port", message);
            return;
        }
    };
    if digits.parse::<u16>().is_err() {
        let message = format!("expected a port number from 0 to 65535, found {digits}");
        report.problem(&port.origin, "server.port", message);
        return;
    }
    let address = Value::text(format!("0.0.0.0:{digits}"), &port.origin);
    rename_key(source, "server.port", "server.bind_address", address, report);
}

/// `[tls]` → `[transport.tls]`, and the mode that it used to imply.
fn rename_tls(source: &mut Table, below: &Layers, report: &mut Report) {
    let mut found = None;
    for field in ["cert_path", "key_path"] {
        let old = format!("tls.{field}");
        if let Some(value) = remove(source, &old) {
            found = Some(value.origin.clone());
            rename_key(source, &old, &format!("transport.tls.{field}"), value, report);
        }
    }
    remove_if_empty(source, "tls");
    // A layer below that set a mode with TLS takes precedence.
    let Some(origin) = found.filter(|_| !below.has_tls()) else {
        return;
    };
    set_if_absent(source, "transport.mode", Value::text("tls", &origin));
    let versions = Value::words(&["http1", "http2"], &origin);
    set_if_absent(source, "transport.http.versions", versions);
    let names = Value::words(&["http/1.1", "h2"], &origin);
    set_if_absent(source, "transport.tls.alpn_protocols", names);
}

/// Puts a former key's value under its new name, with a warning.
fn rename_key(source: &mut Table, old: &str, new: &str, value: Value, report: &mut Report) {
    let origin = value.origin.clone();
    if set_if_absent(source, new, value) {
        let new = match origin {
            Origin::Variable(_) => variable_name(new),
            _ => format!("\"{new}\""),
        };
        report.warn(&origin, old, format!("is a former key; write {new} instead"));
    } else {
        let message = format!("is the former key of \"{new}\", which is set here too; remove this one");
        report.problem(&origin, old, message);
    }
}

/// A section whose keys have all moved is not an unknown one.
fn remove_if_empty(source: &mut Table, section: &str) {
    if source
        .get(section)
        .is_some_and(|value| matches!(&value.data, Data::Table(table) if table.is_empty()))
    {
        source.remove(section);
    }
}
