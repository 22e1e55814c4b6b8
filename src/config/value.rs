//! What a source says, before anyone knows what it means: values with their origins.
//!
//! A tree of our own instead of a layering library such as figment: those keep provenance by
//! file but not by line, and stop at the first value that does not fit. An operator wants
//! every problem at once, each with its line.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use super::problem::{Refusal, Stage};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the built-in default.
    Default,
    /// The built-in defaults of a profile.
    Profile(Arc<str>),
    /// The Rails form's own defaults, where they differ.
    RailsDefault,
    /// A file.
    File {
        /// Its path as it was given.
        path: Arc<str>,
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
        /// The key as it is written there, where that is not the key of the schema.
        key: Option<Arc<str>>,
    },
    /// An environment variable.
    Variable(Arc<str>),
}

impl Origin {
    pub(super) fn file(path: &Arc<str>, line: usize) -> Self {
        Self::File {
            path: Arc::clone(path),
            line,
            key: None,
        }
    }

    /// What groups problems: the file, or all variables together.
    pub(super) fn source(&self) -> String {
        match self {
            Self::File { path, .. } => path.to_string(),
            Self::Variable(_) => "DS_*".into(),
            other => other.to_string(),
        }
    }

    pub(super) fn line(&self) -> usize {
        match self {
            Self::File { line, .. } => *line,
            _ => 0,
        }
    }

    /// The same place, under the key that stands there.
    pub(super) fn written_as(&self, key: &str) -> Self {
        match self {
            Self::File { path, line, .. } => Self::File {
                path: Arc::clone(path),
                line: *line,
                key: Some(key.into()),
            },
            other => other.clone(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::RailsDefault => f.write_str("default of the Rails form"),
            Self::File { path, line: 0, .. } => f.write_str(path),
            Self::File { path, line, .. } => write!(f, "{path}:{line}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Keys and values. Sorted, so that reports and output are the same every time.
pub(super) type Table = BTreeMap<String, Value>;

/// One value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) data: Data,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Table(Table),
    List(Vec<Value>),
    /// Text that was quoted: never read as anything else.
    Text(String),
    /// Text without a type of its own (a variable, a YAML scalar): the field decides.
    Plain(String),
    Integer(i128),
    /// As written, because `1.2` may be a TLS version.
    Float(String),
    Bool(bool),
    Date(String),
    /// Nothing: a YAML key without a value, the same as no key.
    Null,
}

impl Value {
    pub(super) fn new(data: Data, origin: Origin) -> Self {
        Self { data, origin }
    }

    /// The entries of a list; one text stands for a list of one, untyped text may hold
    /// several, separated by commas or as a TOML array.
    pub(super) fn items(&self) -> Result<Cow<'_, [Value]>, Refusal> {
        match &self.data {
            Data::List(items) => Ok(Cow::Borrowed(items)),
            Data::Text(_) => Ok(Cow::Borrowed(std::slice::from_ref(self))),
            Data::Plain(text) if text.trim_start().starts_with('[') => {
                super::toml_file::parse_list(text, &self.origin).map(Cow::Owned)
            }
            Data::Plain(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::new(Data::Plain(item.into()), self.origin.clone()))
                .collect()),
            other => Err(other.wrong_type("a list")),
        }
    }
}

impl Data {
    /// Text, quoted or not.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// Text, or a number that stands for itself.
    pub(super) fn as_word(&self) -> Option<&str> {
        match self {
            Self::Float(text) => Some(text),
            other => other.as_text(),
        }
    }

    pub(super) fn wrong_type(&self, expected: &str) -> Refusal {
        Refusal::new(Stage::Load, format!("expected {expected}, found {self}"))
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

/// The value under a path.
pub(super) fn find<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (name, rest) = path.split_first()?;
    let value = table.get(*name).filter(|value| value.data != Data::Null)?;
    match &value.data {
        _ if rest.is_empty() => Some(value),
        Data::Table(inner) => find(inner, rest),
        _ => None,
    }
}

/// Takes the value under a path out.
pub(super) fn remove(table: &mut Table, path: &[&str]) -> Option<Value> {
    match path {
        [] => None,
        [name] => table.remove(*name).filter(|value| value.data != Data::Null),
        [name, rest @ ..] => match &mut table.get_mut(*name)?.data {
            Data::Table(inner) => remove(inner, rest),
            _ => None,
        },
    }
}

/// Sets what is not set; whether it did.
pub(super) fn fill(table: &mut Table, path: &[&str], value: Value) -> bool {
    match path {
        [] => false,
        [name] => {
            let free = find(table, path).is_none();
            if free {
                table.insert((*name).into(), value);
            }
            free
        }
        [name, rest @ ..] => {
            let section = table
                .entry((*name).into())
                .or_insert_with(|| Value::new(Data::Null, value.origin.clone()));
            if section.data == Data::Null {
                section.data = Data::Table(Table::new());
            }
            match &mut section.data {
                Data::Table(inner) => fill(inner, rest, value),
                _ => false,
            }
        }
    }
}

/// A value for a person to read: quoted, short, on one line, and without what is secret.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let text = mask(text);
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST).collect();
    format!("{:?}", format!("{start}…"))
}

/// Hides what may be secret in a configuration value: the password in a URL, and key
/// material that was pasted where a path belongs. Paths of keys are not secret.
pub(super) fn mask(text: &str) -> Cow<'_, str> {
    if text.contains("-----BEGIN") || looks_like_a_token(text) {
        return Cow::Borrowed("***");
    }
    let Some(scheme_end) = text.find("://") else {
        return Cow::Borrowed(text);
    };
    let (scheme, rest) = text.split_at(scheme_end + 3);
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    match authority
        .rsplit_once('@')
        .and_then(|(user, host)| Some((user.split_once(':')?.0, host)))
    {
        Some((user, host)) => Cow::Owned(format!("{scheme}{user}:***@{host}{tail}")),
        None => Cow::Borrowed(text),
    }
}

/// Three long dot-separated parts that begin as a JWT's header does.
fn looks_like_a_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.matches('.').count() == 2
}
