//! YAML as values with their lines, within bounds: serde-saphyr parses, and counts what aliases
//! multiply.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{
    DuplicateKeyPolicy, Error, Location, Spanned,
    budget::BudgetBreach,
    options::{MergeKeyPolicy, NonFiniteFloatPolicy},
};

use crate::settings::{
    Data, Origin, Table, Value,
    text::{one_line, quote},
};

/// Aliases count as often as they are used.
const MAX_VALUES: usize = 10_000;
const MAX_ALIASES: usize = 256;
const MAX_DEPTH: usize = 32;
/// Memory of the values, aliases included.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// About what a value takes besides its text.
const VALUE_BYTES: usize = 128;
/// Escaped and folded text under anchors: the parser copies it for each alias.
const MAX_ANCHOR_BYTES: usize = 64 * 1024;

/// Why a text is no YAML that can be used.
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Parses a file of one document.
pub(super) fn parse(text: &str, path: &str) -> Result<Value, YamlError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_VALUES,
            max_aliases: MAX_ALIASES,
            max_depth: MAX_DEPTH,
            max_documents: 1,
            max_recorded_anchor_bytes: MAX_ANCHOR_BYTES,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 4 * MAX_VALUES,
            max_replay_stack_depth: MAX_DEPTH,
            max_alias_expansions_per_anchor: MAX_ALIASES,
        },
        // Both are handled here, where the lines are known.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let root: Spanned<Node<'_>> = serde_saphyr::from_str_with_options(text, options).map_err(describe)?;
    let mut builder = Builder { text, path, bytes: 0 };
    let line = line_of(&root.defined).max(1);
    builder.value(root, line)
}

/// A parsed node. Its text borrows from the file, so aliases cost no copy.
enum Node<'a> {
    Null,
    /// A number or a flag: its source text is what counts.
    Typed,
    Text(Cow<'a, str>),
    List(Vec<Spanned<Node<'a>>>),
    Map(Vec<(Spanned<Node<'a>>, Spanned<Node<'a>>)>),
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

/// Methods for types whose source text is read again.
macro_rules! typed {
    ($($method:ident: $type:ty),+) => {$(
        fn $method<E>(self, _: $type) -> Result<Node<'de>, E> {
            Ok(Node::Typed)
        }
    )+};
}

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    typed!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_i128: i128, visit_u128: u128, visit_f64: f64);

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node<'de>, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}

struct Builder<'a> {
    text: &'a str,
    path: &'a str,
    bytes: usize,
}

impl<'a> Builder<'a> {
    /// `line` is that of the key, if the value has one.
    fn value(&mut self, node: Spanned<Node<'_>>, line: usize) -> Result<Value, YamlError> {
        self.spend(VALUE_BYTES, line)?;
        let source = self.source(&node.defined);
        let data = match node.value {
            Node::Null => Data::Null,
            Node::Typed => Data::Plain(self.copy(source, line)?),
            // The key decides what an unquoted word means.
            Node::Text(text) if source == text => Data::Plain(self.copy(&text, line)?),
            Node::Text(text) => Data::Text(self.copy(&text, line)?),
            Node::List(items) => {
                let items = items.into_iter().map(|item| {
                    let line = line_of(&item.defined);
                    self.value(item, line)
                });
                Data::List(items.collect::<Result<_, _>>()?)
            }
            Node::Map(entries) => Data::Table(self.table(entries)?),
        };
        Ok(Value::new(data, Origin::file(self.path, line)))
    }

    fn table(&mut self, entries: Vec<(Spanned<Node<'_>>, Spanned<Node<'_>>)>) -> Result<Table, YamlError> {
        let (mut table, mut merged) = (Table::new(), Vec::new());
        for (key, node) in entries {
            let line = line_of(&key.defined);
            let source = self.source(&key.defined);
            let name = match &key.value {
                Node::Text(name) => name.as_ref(),
                Node::Typed => source,
                Node::Null => "",
                _ => return Err(error(line, "a key must be text")),
            };
            let name = self.copy(name, line)?;
            let value = self.value(node, line)?;
            if source == "<<" {
                merge(&mut merged, value, line)?;
            } else if let Some(other) = table.get(&name) {
                let message = format!("\"{name}\" is given twice, here and at {}", other.origin);
                return Err(error(line, message));
            } else {
                table.insert(name, value);
            }
        }
        for (name, value) in merged.into_iter().flatten() {
            table.entry(name).or_insert(value);
        }
        Ok(table)
    }

    /// The text of a node as it is written.
    fn source(&self, location: &Location) -> &'a str {
        let span = location.span();
        let range = span.byte_offset().zip(span.byte_len());
        range
            .and_then(|(start, len)| {
                let start = usize::try_from(start).ok()?;
                let end = start.checked_add(usize::try_from(len).ok()?)?;
                self.text.get(start..end)
            })
            .unwrap_or_default()
    }

    fn copy(&mut self, text: &str, line: usize) -> Result<String, YamlError> {
        self.spend(text.len(), line)?;
        Ok(text.into())
    }

    fn spend(&mut self, bytes: usize, line: usize) -> Result<(), YamlError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            let message = format!("more than {} MiB, aliases included", MAX_BYTES / 1024 / 1024);
            return Err(error(line, message));
        }
        Ok(())
    }
}

/// `<<`: a mapping, or a list of them of which the first with a key gives its value.
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

fn describe(error: Error) -> YamlError {
    let line = error.location().map_or(0, |location| line_of(&location));
    let mut cause = &error;
    while let Error::AliasError { error, .. } = cause {
        cause = error;
    }
    let message = match cause {
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Depth { .. } => format!("nested deeper than {MAX_DEPTH} levels"),
            BudgetBreach::Documents { .. } => "a second document; one file holds one".into(),
            BudgetBreach::Aliases { .. } => format!("more than {MAX_ALIASES} aliases"),
            BudgetBreach::RecordedAnchorBytes { .. } => format!("more than {} KiB in anchors", MAX_ANCHOR_BYTES / 1024),
            _ => format!("more than {MAX_VALUES} values, aliases included"),
        },
        Error::UnsupportedTag { tag, .. } => format!("the tag {} is not understood", quote(tag)),
        Error::RecursiveReferencesRequireWeakTypes { .. } => "an alias inside of its own anchor".into(),
        other => {
            let text = one_line(&other.to_string());
            let message = text.split(" at line ").next().unwrap_or(&text);
            format!("YAML syntax: {message}")
        }
    };
    YamlError { line, message }
}

fn line_of(location: &Location) -> usize {
    usize::try_from(location.line()).unwrap_or(0)
}

fn error(line: usize, message: impl Into<String>) -> YamlError {
    YamlError {
        line,
        message: message.into(),
    }
}
