//! The commands, one file each. Each writes to what it is given, so that it can be tested.

pub mod explain;
pub mod keys;
pub mod token;

/// Why a command failed. The text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Something given on the command line cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Something in the configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// 78 for configuration, 1 for the rest (DESIGN section 6).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            _ => 1,
        }
    }

    fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        let path = path.display().to_string();
        Self::File { path, source }
    }
}

#[cfg(test)]
mod tests;
