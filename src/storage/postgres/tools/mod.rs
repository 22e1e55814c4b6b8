//! Tools for a database: copies from and to it, and the check of its rows.
//!
//! | module | |
//! |---|---|
//! | [`connection`] | the one connection of a tool |
//! | [`quiet`] | whether servers use the database |
//! | [`import`], [`export`] | copies to and from the database, each in one transaction |
//! | [`check`], [`findings`] | whether the rows agree, and the sentences about those that do not |

mod check;
mod connection;
mod export;
mod findings;
mod import;
mod quiet;

use self::{connection::Connection, export::Export, import::Import};
use super::{schema, session, target::Target};
use crate::storage::{StorageError, StoreReport};

/// A database that a tool works on.
pub(crate) struct Database(Target);

impl Database {
    /// The database of a URL, to which `key` belongs in the configuration.
    ///
    /// # Errors
    /// If the URL names none.
    pub(crate) fn named(key: &str, url: &str) -> Result<Self, StorageError> {
        let target = url.parse::<Target>();
        target
            .map(Self)
            .map_err(|error| StorageError::InvalidUrl(format!("{key} {error}")))
    }

    /// User, hosts and database, for messages.
    pub(crate) fn shown(&self) -> &str {
        &self.0.shown
    }

    /// Checks that the rows agree, as of one moment. Servers may use the database meanwhile.
    ///
    /// # Errors
    /// If the database cannot be read, or has no streams of this version.
    pub(crate) fn check(&self) -> Result<StoreReport, StorageError> {
        let connection = self.connect()?;
        connection.block(schema::require(connection.client()))?;
        check::check(&connection)
    }

    /// Begins a copy to this database, which must be empty. Nothing of it is seen before it is complete.
    ///
    /// # Errors
    /// If the database cannot be written to, servers use it, or it has streams.
    pub(crate) fn import(&self) -> Result<Import, StorageError> {
        let connection = self.connect()?;
        connection.block(schema::ensure(connection.client()))?;
        quiet::wait(&connection)?;
        Import::begin(connection)
    }

    /// Begins a copy of this database. Nobody can write to it until the copy is dropped.
    ///
    /// # Errors
    /// If the database cannot be read, servers use it, or it has no streams of this version.
    pub(crate) fn export(&self) -> Result<Export, StorageError> {
        let connection = self.connect()?;
        connection.block(schema::require(connection.client()))?;
        quiet::wait(&connection)?;
        Export::begin(connection)
    }

    fn connect(&self) -> Result<Connection, StorageError> {
        Connection::open(&self.0)
    }
}
