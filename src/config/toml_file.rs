//! A TOML file as values with their lines.

use toml::de::DeTable;

use super::problem::Report;
use crate::settings::{Origin, Table, text::one_line, toml_value};

/// Parses a file; all its syntax errors go into the report.
pub(super) fn parse(text: &str, path: &str, report: &mut Report) -> Option<Table> {
    if let Some(line) = overlong_key(text) {
        report.unreadable(path, line, format!("a key of more than {MAX_KEY_PARTS} parts"));
        return None;
    }
    if let Some(line) = too_many_values(text) {
        report.unreadable(
            path,
            line,
            format!("more than {MAX_VALUES} values: this is not a configuration file"),
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
        .then(|| toml_value::table(table.get_ref(), &|span| Origin::file(path, lines.line(span.start))))
}

/// The built-in text of a profile.
pub(super) fn parse_profile(text: &str, profile: &str) -> Table {
    let origin = Origin::Profile(profile.into());
    // A test parses each of these files, which the crate ships.
    DeTable::parse(text).map_or_else(
        |_| Table::new(),
        |table| toml_value::table(table.get_ref(), &|_| origin.clone()),
    )
}

/// A value takes a hundred times the two bytes that it may be written in.
const MAX_VALUES: usize = 10_000;

/// The line with one value too many. Counts what separates values, which texts and comments may
/// hold too.
fn too_many_values(text: &str) -> Option<usize> {
    let mut left = MAX_VALUES;
    let spent = |line: &str| match left.checked_sub(values_in(line)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    };
    text.lines().position(spent).map(|line| line + 1)
}

/// The most values that a line begins. Each part of a key before the last is a table.
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

const MAX_KEY_PARTS: usize = 64;

/// The line of a key such as `a.b.c` with too many parts: the parser bounds brackets but not
/// dots, and each part is a table within a table.
fn overlong_key(text: &str) -> Option<usize> {
    let has_too_many = |piece: &str| piece.split('.').filter(|part| !part.trim().is_empty()).count() > MAX_KEY_PARTS;
    let breaks = |c: char| matches!(c, ',' | '=' | '[' | ']' | '{' | '}');
    text.lines()
        .position(|line| line.split(breaks).any(has_too_many))
        .map(|line| line + 1)
}

/// Finds lines by offset.
struct LineStarts(Vec<usize>);

impl LineStarts {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line, from 1.
    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|newline| *newline < offset) + 1
    }
}
