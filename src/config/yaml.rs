//! YAML as values with their lines: anchors, aliases and merge keys, within bounds.
//!
//! Built on the parser's events: a deserializer loses the lines, and only the tree's builder
//! can count what aliases multiply.

use std::{collections::HashMap, sync::Arc};

use granit_parser::{Event, Parser, ScalarStyle};

use super::value::{Data, Origin, Table, Value};

/// More than any configuration has; aliases count as often as they are used.
const MOST_VALUES: usize = 10_000;
/// More bytes than any configuration takes in memory, copies for anchors and aliases included.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// About what a value takes besides its text.
const VALUE_BYTES: usize = 128;
/// Deeper than any configuration is.
const DEEPEST: usize = 32;

/// Why a text is no YAML that can be used.
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Parses the first and only document.
pub(super) fn parse(text: &str, path: &Arc<str>) -> Result<Value, YamlError> {
    let mut builder = Builder {
        path,
        open: Vec::new(),
        anchors: HashMap::new(),
        values: 0,
        bytes: 0,
        documents: 0,
        root: None,
    };
    let options = granit_parser::options! { emit_comments: false };
    for next in Parser::new_from_str_with_options(text, options) {
        let (event, span) = next.map_err(|error| YamlError {
            line: error.marker().line(),
            message: format!("YAML syntax: {}", super::toml_file::one_line(&error.kind().to_string())),
        })?;
        builder.take(event, span.start.line())?;
    }
    let empty = || Value::new(Data::Null, Origin::file(path, 1));
    Ok(builder.root.unwrap_or_else(empty))
}

/// A node under construction.
enum Open {
    List {
        items: Vec<Node>,
        anchor: usize,
        line: usize,
    },
    Map {
        table: Table,
        merged: Vec<Table>,
        key: Option<Key>,
        anchor: usize,
        line: usize,
        cost: Cost,
        depth: usize,
    },
}

/// The size that a copy of a value adds to the configuration.
#[derive(Debug, Clone, Copy)]
struct Cost {
    values: usize,
    bytes: usize,
}

impl Cost {
    fn of_one(text: &str) -> Self {
        let bytes = VALUE_BYTES + text.len();
        Self { values: 1, bytes }
    }

    fn and(self, other: Self) -> Self {
        Self {
            values: self.values + other.values,
            bytes: self.bytes + other.bytes,
        }
    }
}

struct Key {
    name: String,
    line: usize,
    is_merge: bool,
}

/// A finished value, and what another copy of it would cost.
#[derive(Clone)]
struct Node {
    value: Value,
    cost: Cost,
    depth: usize,
    plain: bool,
}

struct Builder<'a> {
    path: &'a Arc<str>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    values: usize,
    bytes: usize,
    documents: usize,
    root: Option<Value>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), YamlError> {
        if let Some(tag) = event.tag().filter(|tag| !tag.is_yaml_core_schema_tag("str")) {
            return Err(error(line, format!("the tag {tag} is not understood")));
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(error(line, "a second document; one file holds one"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let cost = Cost::of_one(&text);
                self.spend(cost, line)?;
                let data = scalar(text.into_owned(), plain);
                let value = Value::new(data, Origin::file(self.path, line));
                let node = Node {
                    value,
                    cost,
                    depth: 1,
                    plain,
                };
                self.finished(node, anchor, line)?;
            }
            Event::Alias(anchor) => {
                let Some(cost) = self.anchors.get(&anchor).map(|node| node.cost) else {
                    return Err(error(line, "an alias inside of what it names"));
                };
                self.spend(cost, line)?;
                if let Some(node) = self.anchors.get(&anchor).cloned() {
                    self.finished(node, 0, line)?;
                }
            }
            Event::SequenceStart(_, anchor, _) => self.begin(
                Open::List {
                    items: Vec::new(),
                    anchor,
                    line,
                },
                line,
            )?,
            Event::MappingStart(_, anchor, _) => self.begin(
                Open::Map {
                    table: Table::new(),
                    merged: Vec::new(),
                    key: None,
                    anchor,
                    line,
                    cost: Cost::of_one(""),
                    depth: 0,
                },
                line,
            )?,
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, open: Open, line: usize) -> Result<(), YamlError> {
        if self.open.len() >= DEEPEST {
            return Err(too_deep(line));
        }
        self.spend(Cost::of_one(""), line)?;
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        match self.open.pop() {
            Some(Open::List { items, anchor, line }) => {
                let cost = items.iter().map(|item| item.cost).fold(Cost::of_one(""), Cost::and);
                let depth = 1 + items.iter().map(|item| item.depth).max().unwrap_or(0);
                let data = Data::List(items.into_iter().map(|item| item.value).collect());
                self.finished(self.node(data, line, cost, depth), anchor, line)
            }
            Some(Open::Map {
                mut table,
                merged,
                anchor,
                line,
                cost,
                depth,
                ..
            }) => {
                for (key, value) in merged.into_iter().flatten() {
                    table.entry(key).or_insert(value);
                }
                self.finished(self.node(Data::Table(table), line, cost, depth + 1), anchor, line)
            }
            None => Ok(()),
        }
    }

    fn node(&self, data: Data, line: usize, cost: Cost, depth: usize) -> Node {
        Node {
            value: Value::new(data, Origin::file(self.path, line)),
            cost,
            depth,
            plain: false,
        }
    }

    /// Counts a value before it is made or copied.
    fn spend(&mut self, cost: Cost, line: usize) -> Result<(), YamlError> {
        self.values = self.values.saturating_add(cost.values);
        self.bytes = self.bytes.saturating_add(cost.bytes);
        if self.values > MOST_VALUES {
            return Err(error(line, format!("more than {MOST_VALUES} values, aliases included")));
        }
        if self.bytes > MOST_BYTES {
            let message = format!("more than {} MiB, aliases included", MOST_BYTES / 1024 / 1024);
            return Err(error(line, message));
        }
        Ok(())
    }

    /// Hands a finished node to the one that it stands in.
    fn finished(&mut self, node: Node, anchor: usize, at: usize) -> Result<(), YamlError> {
        if node.depth + self.open.len() > DEEPEST {
            return Err(too_deep(at));
        }
        if anchor != 0 {
            self.spend(Cost { values: 0, ..node.cost }, at)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node.value),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map {
                table,
                merged,
                key,
                cost,
                depth,
                ..
            }) => {
                *cost = cost.and(node.cost);
                *depth = (*depth).max(node.depth);
                match key.take() {
                    None => *key = Some(key_from(node, at)?),
                    Some(key) if key.is_merge => merge(merged, node.value, key.line)?,
                    Some(key) => insert(table, key, node.value)?,
                }
            }
        }
        Ok(())
    }
}

fn key_from(node: Node, line: usize) -> Result<Key, YamlError> {
    let name = match node.value.data {
        Data::Text(name) | Data::Plain(name) => name,
        Data::Null => String::new(),
        _ => return Err(error(line, "a key must be text")),
    };
    Ok(Key {
        is_merge: node.plain && name == "<<",
        name,
        line,
    })
}

/// A value stands at its key's line, also when it is an alias.
fn insert(table: &mut Table, key: Key, mut value: Value) -> Result<(), YamlError> {
    if let Some(other) = table.get(&key.name) {
        let message = format!("\"{}\" is given twice, here and at {}", key.name, other.origin);
        return Err(error(key.line, message));
    }
    if let Origin::File { line, .. } = &mut value.origin {
        *line = key.line;
    }
    table.insert(key.name, value);
    Ok(())
}

/// `<<`: a mapping, or a list of them of which the first to have a key gives it.
fn merge(merged: &mut Vec<Table>, value: Value, line: usize) -> Result<(), YamlError> {
    match value.data {
        Data::Table(table) => merged.push(table),
        Data::List(items) => {
            for item in items {
                merge(merged, item, line)?;
            }
        }
        _ => return Err(error(line, "\"<<\" takes a mapping or a list of mappings")),
    }
    Ok(())
}

/// What an unquoted word means is the field's affair, except for nothing at all.
fn scalar(text: String, plain: bool) -> Data {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" if plain => Data::Null,
        _ if plain => Data::Plain(text),
        _ => Data::Text(text),
    }
}

fn too_deep(line: usize) -> YamlError {
    error(line, format!("nested deeper than {DEEPEST} levels"))
}

fn error(line: usize, message: impl Into<String>) -> YamlError {
    YamlError {
        line,
        message: message.into(),
    }
}
