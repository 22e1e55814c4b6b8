//! The options of a store in PostgreSQL.

use super::target::{Target, TargetError};

/// Where a shared store is.
#[derive(Clone)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// The URL of the database.
    pub url: String,
    /// The URL of a direct connection, if the first one leads through a pooler that does not pass notifications on.
    pub listen_url: Option<String>,
    /// This server, for messages.
    pub name: String,
}

impl PostgresOptions {
    /// The database of a URL, for a server with this name.
    #[must_use]
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            listen_url: None,
            name: name.into(),
        }
    }
}

/// Whether a URL names a database and says how to connect to it.
///
/// # Errors
/// If not. The message never repeats the URL.
pub(crate) fn check_url(url: &str) -> Result<(), TargetError> {
    url.parse::<Target>().map(|_| ())
}
