//! Why a value is refused.

use std::fmt;

use super::{Data, Origin};

/// The step of loading that found a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `load_config`: a source cannot be read, or holds what the schema does not know.
    Load,
    /// `validate_config`: each value can be read, but is malformed or contradicts another.
    Validate,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Load => "load_config",
            Self::Validate => "validate_config",
        })
    }
}

/// Why one value was refused. The caller adds place and key.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) stage: Stage,
    pub(crate) message: String,
    /// The place, where it is not that of the whole value.
    pub(crate) origin: Option<Origin>,
    /// Keeps its stage even when the value comes from a variable.
    pub(crate) fixed: bool,
}

impl Refusal {
    /// A value of the wrong type.
    pub(crate) fn load(message: impl Into<String>) -> Self {
        Self {
            stage: Stage::Load,
            message: message.into(),
            origin: None,
            fixed: false,
        }
    }

    /// A value of the right type that is malformed.
    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self {
            stage: Stage::Validate,
            ..Self::load(message)
        }
    }

    /// A value that is well-formed and not supported.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self {
            fixed: true,
            ..Self::malformed(message)
        }
    }

    pub(crate) fn wrong_type(data: &Data, expected: &str) -> Self {
        Self::load(format!("expected {expected}, found {data}"))
    }

    pub(crate) fn at(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }
}
