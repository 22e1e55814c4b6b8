//! The few forms of ERB that a Rails YAML needs.
//!
//! A tag is replaced by a mark before the YAML is parsed, and the mark by its value after:
//! what a variable holds is always one scalar and can never be structure.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    problem::Report,
    value::{Data, Origin, Table, Value, quote},
};

/// What every refusal says.
const UNDERSTOOD: &str =
    "only <%= ENV[\"X\"] %>, <%= ENV.fetch(\"X\") %> and <%= ENV.fetch(\"X\", \"default\") %> are understood";

/// Around a tag's number. Private use: a file has no reason to hold them.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// A tag that is understood.
#[derive(Debug)]
enum Tag {
    /// `ENV["X"]`: empty when not set.
    Lookup(String),
    /// `ENV.fetch("X")`, `ENV.fetch("X", default)`
    Fetch(String, Option<String>),
}

/// A text whose tags are marks.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) text: String,
    tags: Vec<Tag>,
}

/// Replaces all tags by marks; `None` when there is one that is not understood.
pub(super) fn parse(text: &str, path: &Arc<str>, report: &mut Report) -> Option<Template> {
    let mut template = Template {
        text: String::with_capacity(text.len()),
        tags: Vec::new(),
    };
    let mut clean = true;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if let Err(reason) = template.push_line(line) {
            report.unreadable(path, at + 1, reason);
            clean = false;
        }
    }
    clean.then_some(template)
}

impl Template {
    fn push_line(&mut self, line: &str) -> Result<(), String> {
        if line.contains([OPEN, CLOSE]) {
            return Err("holds a private-use character (U+E000 or U+E001)".into());
        }
        // A line that is commented out asks for nothing.
        if line.trim_start().starts_with('#') {
            self.text.push_str(line);
            return Ok(());
        }
        let mut rest = line;
        while let Some((before, tag)) = rest.split_once("<%") {
            self.text.push_str(before);
            let Some((code, after)) = tag.split_once("%>") else {
                return Err(format!("an ERB tag that does not end on its line; {UNDERSTOOD}"));
            };
            self.push_tag(code)?;
            rest = after;
        }
        self.text.push_str(rest);
        Ok(())
    }

    fn push_tag(&mut self, code: &str) -> Result<(), String> {
        if code.starts_with('#') {
            return Ok(());
        }
        let tag = code
            .strip_prefix('=')
            .and_then(|code| parse_expression(code.strip_suffix('-').unwrap_or(code).trim()))
            .ok_or_else(|| {
                format!(
                    "the ERB {} is not understood; {UNDERSTOOD}",
                    quote(&format!("<%{code}%>"))
                )
            })?;
        self.text.push_str(&format!("{OPEN}{}{CLOSE}", self.tags.len()));
        self.tags.push(tag);
        Ok(())
    }

    /// Puts the variables' values in place of the marks, in every value of the table.
    /// `section` is the table's key, with a dot after it, for reports.
    pub(super) fn fill_in(
        &self,
        table: &mut Table,
        section: &str,
        variables: &BTreeMap<String, String>,
        report: &mut Report,
    ) {
        for (name, value) in table {
            if name.contains(OPEN) {
                report.problem(&value.origin, "", "ERB cannot stand in a key");
            }
            self.fill_in_value(value, &format!("{section}{name}"), variables, report);
        }
    }

    fn fill_in_value(&self, value: &mut Value, key: &str, variables: &BTreeMap<String, String>, report: &mut Report) {
        match &mut value.data {
            Data::Table(table) => self.fill_in(table, &format!("{key}."), variables, report),
            Data::List(items) => {
                for item in items {
                    self.fill_in_value(item, key, variables, report);
                }
            }
            Data::Text(text) | Data::Plain(text) if text.contains(OPEN) => {
                let text = self.evaluate(text, &value.origin, key, variables, report);
                value.data = match text.trim() {
                    "" => Data::Null,
                    text => Data::Plain(text.into()),
                };
            }
            _ => {}
        }
    }

    fn evaluate(
        &self,
        text: &str,
        origin: &Origin,
        key: &str,
        variables: &BTreeMap<String, String>,
        report: &mut Report,
    ) -> String {
        let mut result = String::new();
        let mut pieces = text.split(OPEN);
        result.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let (number, after) = piece.split_once(CLOSE).unwrap_or((piece, ""));
            let tag = number.parse().ok().and_then(|number: usize| self.tags.get(number));
            match tag {
                Some(Tag::Lookup(name)) => match variables.get(name) {
                    Some(text) => result.push_str(text),
                    None => report.warn(origin, key, format!("the variable {name} is not set; taken as empty")),
                },
                Some(Tag::Fetch(name, default)) => match variables.get(name).or(default.as_ref()) {
                    Some(text) => result.push_str(text),
                    None => {
                        // What it would have said is not known.
                        report.unreadable = true;
                        report.problem(
                            origin,
                            key,
                            format!("the variable {name} is not set and has no default"),
                        );
                    }
                },
                None => {}
            }
            result.push_str(after);
        }
        result
    }
}

fn parse_expression(code: &str) -> Option<Tag> {
    let rest = code.strip_prefix("ENV")?;
    if let Some(inner) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let (name, after) = parse_string(inner.trim())?;
        return after.is_empty().then_some(Tag::Lookup(name));
    }
    let inner = rest.strip_prefix(".fetch")?.trim_start();
    let inner = inner.strip_prefix('(')?.strip_suffix(')')?;
    let (name, after) = parse_string(inner.trim())?;
    let after = after.trim_start();
    if after.is_empty() {
        return Some(Tag::Fetch(name, None));
    }
    let default = parse_default(after.strip_prefix(',')?.trim())?;
    Some(Tag::Fetch(name, Some(default)))
}

/// A string without escapes or interpolation, and what follows it.
fn parse_string(code: &str) -> Option<(String, &str)> {
    let mark = code.chars().next().filter(|mark| matches!(mark, '"' | '\''))?;
    let (text, after) = code.get(1..)?.split_once(mark)?;
    let plain = !text.contains('\\') && !text.contains("#{");
    plain.then(|| (text.into(), after))
}

/// A string or a number.
fn parse_default(code: &str) -> Option<String> {
    if let Some((text, after)) = parse_string(code) {
        return after.is_empty().then_some(text);
    }
    let number = code.replace('_', "");
    number.parse::<f64>().ok().map(|_| number)
}
