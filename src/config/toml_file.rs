//! A TOML file as values with their lines.

use std::{ops::Range, sync::Arc};

use toml::de::{DeTable, DeValue};

use super::{
    problem::{Refusal, Report, Stage},
    value::{Data, Origin, Table, Value},
};

/// Turns a place in the text into an origin.
type Locate<'a> = &'a dyn Fn(Range<usize>) -> Origin;

/// Parses a file; all its syntax errors go into the report.
pub(super) fn parse(text: &str, path: &Arc<str>, report: &mut Report) -> Option<Table> {
    if let Some(line) = overlong_key(text) {
        report.unreadable(path, line, format!("a key of more than {MOST_PARTS} parts"));
        return None;
    }
    if let Some(line) = too_many_values(text) {
        report.unreadable(
            path,
            line,
            format!("more than {MOST_VALUES} values: this is no configuration file"),
        );
        return None;
    }
    let lines = LineStarts::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(0, |span| lines.line(span.start));
        report.unreadable(path, line, format!("TOML syntax: {}", one_line(error.message())));
    }
    errors
        .is_empty()
        .then(|| table_from(table.get_ref(), &|span| Origin::file(path, lines.line(span.start))))
}

/// The built-in text of a profile.
pub(super) fn parse_profile(text: &str, profile: &str) -> Table {
    let origin = Origin::Profile(profile.into());
    // The texts are the files that the crate ships; a test parses each.
    DeTable::parse(text).map_or_else(
        |_| Table::new(),
        |table| table_from(table.get_ref(), &|_| origin.clone()),
    )
}

/// A TOML array in a variable.
pub(super) fn parse_list(text: &str, origin: &Origin) -> Result<Vec<Value>, Refusal> {
    let value = DeValue::parse(text.trim()).map_err(|error| {
        let message = format!("is not a TOML array: {}", one_line(error.message()));
        Refusal::new(Stage::Load, message)
    })?;
    match data_from(value.get_ref(), &|_| origin.clone()) {
        Data::List(items) => Ok(items),
        other => Err(other.wrong_type("a list")),
    }
}

fn table_from(table: &DeTable<'_>, locate: Locate<'_>) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            // The key's line: a value may begin on a later one.
            let value = Value::new(data_from(value.get_ref(), locate), locate(key.span()));
            (key.get_ref().to_string(), value)
        })
        .collect()
}

fn data_from(value: &DeValue<'_>, locate: Locate<'_>) -> Data {
    match value {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Data::Float(number.as_str().into()), Data::Integer),
        DeValue::Float(number) => Data::Float(number.as_str().into()),
        DeValue::Boolean(value) => Data::Bool(*value),
        DeValue::Datetime(date) => Data::Date(date.to_string()),
        DeValue::Array(items) => Data::List(
            items
                .iter()
                .map(|item| Value::new(data_from(item.get_ref(), locate), locate(item.span())))
                .collect(),
        ),
        DeValue::Table(table) => Data::Table(table_from(table, locate)),
    }
}

/// More than any configuration has: a value takes a hundred times the two bytes that it may be.
const MOST_VALUES: usize = 10_000;

/// The line with one value too many, counted by what stands between values, which may also
/// stand in texts and comments.
fn too_many_values(text: &str) -> Option<usize> {
    let mut left = MOST_VALUES;
    let spent = |line: &str| match left.checked_sub(values_in(line)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    };
    text.lines().position(spent).map(|line| line + 1)
}

/// How many values a line may begin. Each part of a key before the last is a table.
fn values_in(line: &str) -> usize {
    let between = line.bytes().filter(|byte| matches!(byte, b',' | b'=' | b'[' | b'{'));
    let dots = |text: &str| text.bytes().filter(|byte| *byte == b'.').count();
    let in_keys: usize = match line.trim_start().starts_with('[') {
        true => dots(line),
        false => line
            .split([',', '{'])
            .filter_map(|piece| piece.split_once('='))
            .map(|(key, _)| dots(key))
            .sum(),
    };
    between.count() + in_keys
}

/// More than any key has.
const MOST_PARTS: usize = 64;

/// The line of a key such as `a.b.c` with too many parts. The parser bounds brackets but not
/// dots, and each part is a table in a table, down to the end of the stack.
fn overlong_key(text: &str) -> Option<usize> {
    let has_too_many = |piece: &str| piece.split('.').filter(|part| !part.trim().is_empty()).count() > MOST_PARTS;
    let breaks = |c: char| matches!(c, ',' | '=' | '[' | ']' | '{' | '}');
    text.lines()
        .position(|line| line.split(breaks).any(has_too_many))
        .map(|line| line + 1)
}

/// Parsers' messages may take several lines; a problem takes one.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Finds lines by offset.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// Counted from 1.
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}
