//! The forms of ERB that the Rails form supports.
//!
//! Each tag is replaced by a marker before the YAML is parsed, and the marker by its value
//! afterwards, so that the value of a variable is always one scalar and never structure.

use std::collections::BTreeMap;

use super::problem::Report;
use crate::settings::{Data, Origin, Table, Value, text::quote};

/// The forms that every refusal names.
const UNDERSTOOD: &str = "only <%= ENV[\"X\"] %>, <%= ENV[\"X\"] || \"default\" %>, <%= ENV.fetch(\"X\") %>, \
                          <%= ENV.fetch(\"X\", \"default\") %> and <%= ENV.fetch(\"X\") { \"default\" } %> are understood";

/// Total size of the values inserted into one file.
const MAX_EXPANDED_BYTES: usize = 1024 * 1024;

/// Markers around a tag's number, from the private use area.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// A supported tag.
#[derive(Debug)]
enum Tag {
    /// `ENV["X"]`: empty when not set.
    Lookup(String),
    /// `ENV.fetch("X")`, and with a default: `ENV.fetch("X", default)`, `ENV.fetch("X") { default }`,
    /// `ENV["X"] || default`
    Fetch(String, Option<String>),
}

/// A text with markers in place of its tags.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) text: String,
    tags: Vec<Tag>,
}

/// Replaces all tags by markers; `None` when one is not supported.
pub(super) fn parse(text: &str, path: &str, report: &mut Report) -> Option<Template> {
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
        // Commented out.
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

    /// Replaces the markers by the values of the variables, in every value of the table.
    pub(super) fn fill_in(&self, table: &mut Table, variables: &BTreeMap<String, String>, report: &mut Report) {
        let mut filling = Filling {
            template: self,
            variables,
            report,
            left: MAX_EXPANDED_BYTES,
        };
        filling.table(table, "");
    }
}

/// The replacement of markers.
struct Filling<'a> {
    template: &'a Template,
    variables: &'a BTreeMap<String, String>,
    report: &'a mut Report,
    /// Bytes that values may still add.
    left: usize,
}

impl Filling<'_> {
    /// `section` is the table's key, with a dot after it, for reports.
    fn table(&mut self, table: &mut Table, section: &str) {
        for (name, value) in table {
            if name.contains(OPEN) {
                self.report.problem(&value.origin, "", "ERB cannot stand in a key");
            }
            self.value(value, &format!("{section}{name}"));
        }
    }

    fn value(&mut self, value: &mut Value, key: &str) {
        match &mut value.data {
            Data::Table(table) => self.table(table, &format!("{key}.")),
            Data::List(items) => {
                for item in items {
                    self.value(item, key);
                }
            }
            Data::Text(text) | Data::Plain(text) if text.contains(OPEN) => {
                let text = self.evaluate(text, &value.origin, key);
                value.data = match text.trim() {
                    "" => Data::Null,
                    text => Data::Plain(text.into()),
                };
            }
            _ => {}
        }
    }

    fn evaluate(&mut self, text: &str, origin: &Origin, key: &str) -> String {
        let mut result = String::new();
        let mut pieces = text.split(OPEN);
        result.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            let (number, after) = piece.split_once(CLOSE).unwrap_or((piece, ""));
            let number: Option<usize> = number.parse().ok();
            if let Some(tag) = number.and_then(|number| self.template.tags.get(number)) {
                result.push_str(&self.expand(tag, origin, key));
            }
            result.push_str(after);
        }
        result
    }

    fn expand(&mut self, tag: &Tag, origin: &Origin, key: &str) -> String {
        let (name, text) = match tag {
            Tag::Lookup(name) => (name, self.variables.get(name)),
            Tag::Fetch(name, default) => (name, self.variables.get(name).or(default.as_ref())),
        };
        let Some(text) = text else {
            match tag {
                Tag::Lookup(_) => {
                    let message = format!("the variable {name} is not set; taken as empty");
                    self.report.warn(origin, key, message);
                }
                Tag::Fetch(..) => {
                    // The value is unknown, so later checks would mislead.
                    self.report.unreadable = true;
                    let message = format!("the variable {name} is not set and has no default");
                    self.report.problem(origin, key, message);
                }
            }
            return String::new();
        };
        let Some(left) = self.left.checked_sub(text.len()) else {
            if !self.report.unreadable {
                self.report.unreadable = true;
                let message = format!("the variables' values are longer than {MAX_EXPANDED_BYTES} bytes together");
                self.report.problem(origin, key, message);
            }
            return String::new();
        };
        self.left = left;
        text.clone()
    }
}

fn parse_expression(code: &str) -> Option<Tag> {
    let rest = code.strip_prefix("ENV")?;
    if let Some(inner) = rest.strip_prefix('[') {
        let (name, after) = parse_string(inner.trim_start())?;
        let after = after.trim_start().strip_prefix(']')?.trim();
        return match after.strip_prefix("||") {
            Some(default) => Some(Tag::Fetch(name, Some(parse_default(default.trim())?))),
            None => after.is_empty().then_some(Tag::Lookup(name)),
        };
    }
    let inner = rest.strip_prefix(".fetch")?.trim_start().strip_prefix('(')?;
    let (name, after) = parse_string(inner.trim_start())?;
    let after = after.trim_start();
    if let Some(block) = after.strip_prefix(')') {
        let block = block.trim();
        if block.is_empty() {
            return Some(Tag::Fetch(name, None));
        }
        let default = block.strip_prefix('{')?.strip_suffix('}')?;
        return Some(Tag::Fetch(name, Some(parse_default(default.trim())?)));
    }
    let default = after.strip_prefix(',')?.strip_suffix(')')?;
    Some(Tag::Fetch(name, Some(parse_default(default.trim())?)))
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
