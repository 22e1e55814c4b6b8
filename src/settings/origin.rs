//! Where a value was written.

use std::fmt;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Origin {
    /// Nowhere: the built-in default.
    Default,
    /// The built-in defaults of a profile.
    Profile(String),
    /// The Rails form's own defaults, where they differ.
    RailsDefault,
    /// A file.
    File {
        /// Its path as it was given.
        path: String,
        /// The line, from 1; 0 for the file as a whole.
        line: usize,
        /// The key as it is written there, where that is not the key of the schema.
        key: Option<String>,
    },
    /// An environment variable.
    Variable(String),
}

impl Origin {
    pub(crate) fn file(path: &str, line: usize) -> Self {
        Self::File {
            path: path.into(),
            line,
            key: None,
        }
    }

    /// The group that a problem is listed under: the file, or all variables.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::File { path, .. } => path.clone(),
            Self::Variable(_) => "DS_*".into(),
            other => other.to_string(),
        }
    }

    pub(crate) fn line(&self) -> usize {
        match self {
            Self::File { line, .. } => *line,
            _ => 0,
        }
    }

    /// The same place, under the key that is written there.
    pub(crate) fn written_as(&self, written: &str) -> Self {
        let mut origin = self.clone();
        if let Self::File { key, .. } = &mut origin {
            *key = Some(written.into());
        }
        origin
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
