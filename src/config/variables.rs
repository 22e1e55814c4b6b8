//! `DS_*` variables as one source.

use std::collections::BTreeMap;

use super::{
    problem::Report,
    schema::{Schema, variable_name},
};
use crate::settings::{Data, Origin, Table, Value, text::nearest};

const PREFIX: &str = "DS_";

/// Deeper than any key; each part is a table within a table.
const MAX_DEPTH: usize = 16;

/// Variables that stand for arguments, not for keys.
const ARGUMENTS: [&str; 5] = ["DS_PROFILE", "DS_CONFIG", "DS_ENV", "DS_URL", "DS_TOKEN"];

/// All `DS_*` variables, and `RUST_LOG`, as a source.
pub(super) fn parse(variables: &BTreeMap<String, String>, report: &mut Report) -> Table {
    let mut table = Table::new();
    // The server's own variable overrides the one for every Rust program.
    let own = ["DS_OBSERVABILITY__RUST_LOG", "DS_LOG__RUST_LOG"];
    let general = variables
        .get("RUST_LOG")
        .filter(|level| !level.is_empty() && !own.iter().any(|name| variables.contains_key(*name)));
    if let Some(level) = general {
        insert(
            &mut table,
            "RUST_LOG",
            &["observability".into(), "rust_log".into()],
            level,
            report,
        );
    }
    for (name, text) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if ARGUMENTS.contains(&name.as_str()) {
            continue;
        }
        if !rest.contains("__") {
            not_a_field(name, report);
            continue;
        }
        if rest.matches("__").count() > MAX_DEPTH {
            report.problem(&Origin::Variable(name.as_str().into()), "", "unknown variable");
            continue;
        }
        let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        insert(&mut table, name, &path, text, report);
    }
    table
}

/// Every key is in a section, so a name without `__` is none. It may belong to another program;
/// only one that looks like a key is refused.
fn not_a_field(name: &str, report: &mut Report) {
    let names: Vec<String> = Schema::get().paths().map(variable_name).collect();
    let single: Vec<String> = names.iter().map(|name| name.replace("__", "_")).collect();
    let meant = nearest(name, single.iter().map(String::as_str))
        .and_then(|near| single.iter().position(|other| other == near))
        .and_then(|at| names.get(at));
    let origin = Origin::Variable(name.into());
    match meant {
        Some(meant) => report.problem(
            &origin,
            "",
            format!("unknown variable (did you mean {meant}? sections and fields are separated by two underscores)"),
        ),
        None => report.warn(&origin, "", "not a setting of this server; ignored"),
    }
}

fn insert(table: &mut Table, name: &str, path: &[String], text: &str, report: &mut Report) {
    let origin = Origin::Variable(name.into());
    if text.contains('\u{fffd}') {
        report.problem(&origin, "", "is not UTF-8");
        return;
    }
    let Some((field, sections)) = path.split_last() else {
        return;
    };
    let mut table = table;
    for section in sections {
        let section = table
            .entry(section.clone())
            .or_insert_with(|| Value::new(Data::Table(Table::new()), origin.clone()));
        match &mut section.data {
            Data::Table(inner) => table = inner,
            _ => {
                report.problem(&origin, "", "another variable sets the section of this one as a value");
                return;
            }
        }
    }
    table.insert(field.clone(), Value::new(Data::Plain(text.trim().into()), origin));
}
