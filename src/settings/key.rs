//! Keys and sections, as declared.

use serde::Serialize;

use super::{Refusal, Value};

/// One key, as its section declares it.
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the generated documents, made by a test, need it all")
)]
pub(crate) struct Key {
    /// Its name within its section.
    pub(crate) name: &'static str,
    /// Its documentation; the first sentence also goes into `config/default.toml`.
    pub(crate) doc: &'static str,
    /// The type of its value.
    pub(crate) kind: Kind,
    /// The smallest number that it takes.
    pub(crate) min: u64,
    /// The largest number that it takes.
    pub(crate) max: u64,
    /// Why it takes none beyond these.
    pub(crate) why: &'static str,
    /// Its name in the Rails form, where that is another.
    pub(crate) rails: &'static str,
    /// A value to show in TOML, for a key without a default or with an empty one.
    pub(crate) example: &'static str,
    /// Where its default comes from, for a key that derives it.
    pub(crate) derived: &'static str,
    /// Whether an empty value is an error, because the default is weaker than what was meant.
    pub(crate) never_empty: bool,
    /// Reads a value, into JSON.
    pub(crate) read: fn(&Value) -> Result<serde_json::Value, Vec<Refusal>>,
}

impl Key {
    pub(crate) fn of<T: Setting>(name: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            doc,
            kind: T::KIND,
            min: 0,
            max: u64::MAX,
            why: "",
            rails: "",
            example: "",
            derived: "",
            never_empty: false,
            read: |value| serde_json::to_value(T::read(value)?).map_err(|error| vec![Refusal::load(error.to_string())]),
        }
    }

    /// Why a number is out of range, if it is.
    pub(crate) fn out_of_range(&self, number: u64) -> Option<String> {
        if (self.min..=self.max).contains(&number) {
            return None;
        }
        let why = match self.why {
            "" => String::new(),
            why => format!(": {why}"),
        };
        Some(format!("must be {}, not {number}{why}", self.range()?))
    }

    /// The range in words; `None` when every number will do.
    pub(crate) fn range(&self) -> Option<String> {
        match (self.min, self.max) {
            (0, u64::MAX) => None,
            (min, u64::MAX) => Some(format!("at least {min}")),
            (0, max) => Some(format!("at most {max}")),
            (min, max) => Some(format!("from {min} to {max}")),
        }
    }
}

/// The type of a value.
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "the generated documents, made by a test, need it all")
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Flag,
    Number,
    Text,
    Path,
    /// An address with a port.
    Socket,
    /// An IP address.
    Ip,
    /// An IP address or a CIDR block.
    Network,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of `retention.rules`.
    Rule,
    List(&'static Kind),
}

/// The type of a key's value.
pub(crate) trait Setting: Serialize + Sized {
    const KIND: Kind;

    /// Reads a value, or says everything that is wrong with it.
    fn read(value: &Value) -> Result<Self, Vec<Refusal>>;
}

/// A struct made by [`section!`](super::section).
pub(crate) trait Section {
    fn describe() -> SectionInfo;
}

/// A section's declaration.
pub(crate) struct SectionInfo {
    pub(crate) about: &'static str,
    /// Whether there is a configuration without it.
    pub(crate) optional: bool,
    pub(crate) keys: Vec<Key>,
    pub(crate) sections: Vec<(&'static str, SectionInfo)>,
}

impl<T: Section> Section for Option<T> {
    fn describe() -> SectionInfo {
        SectionInfo {
            optional: true,
            ..T::describe()
        }
    }
}
