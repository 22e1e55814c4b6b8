//! Untyped values with their origins.

use std::{collections::BTreeMap, fmt};

use super::{Origin, text::quote};

/// Keys and values, sorted so that reports are the same every time.
pub(crate) type Table = BTreeMap<String, Value>;

/// One value and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) data: Data,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Table(Table),
    List(Vec<Value>),
    /// Quoted text: never read as anything else.
    Text(String),
    /// Text without a type of its own (a variable, a YAML scalar): the key decides.
    Plain(String),
    Integer(i128),
    /// As written, because `1.2` may be a TLS version.
    Float(String),
    Bool(bool),
    Date(String),
    /// A YAML key without a value, the same as no key.
    Null,
}

impl Value {
    pub(crate) fn new(data: Data, origin: Origin) -> Self {
        Self { data, origin }
    }

    pub(crate) fn text(text: impl ToString, origin: &Origin) -> Self {
        Self::new(Data::Text(text.to_string()), origin.clone())
    }

    /// A list of words.
    pub(crate) fn words(words: &[&str], origin: &Origin) -> Self {
        let items = words.iter().map(|word| Self::text(word, origin));
        Self::new(Data::List(items.collect()), origin.clone())
    }

    /// Whether the key is given without a value.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.data {
            Data::Null => true,
            Data::Text(text) => text.trim().is_empty(),
            Data::Plain(text) => text.trim().trim_matches(',').is_empty(),
            Data::List(items) => items.is_empty(),
            _ => false,
        }
    }
}

impl Data {
    /// Text, quoted or not.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// Text, or a number that stands for itself.
    pub(crate) fn as_word(&self) -> Option<&str> {
        match self {
            Self::Float(text) => Some(text),
            other => other.as_text(),
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(_) => f.write_str("a section"),
            Self::List(_) => f.write_str("a list"),
            Self::Text(text) => write!(f, "the text {}", quote(text)),
            Self::Plain(text) => f.write_str(&quote(text)),
            Self::Integer(number) => write!(f, "the number {number}"),
            Self::Float(number) => write!(f, "the number {number}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Date(text) => write!(f, "the date {text}"),
            Self::Null => f.write_str("nothing"),
        }
    }
}
