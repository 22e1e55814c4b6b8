//! The one connection of a tool. Its statements take as long as they take.

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Row, error::SqlState};

use super::{Target, session};
use crate::storage::{
    StorageError,
    postgres::{connections::Parameters, failure::Failure},
};

/// No statement of a tool is too long, and a tool may wait for the other side of a copy.
/// No other role's functions are called, and the statistics of a table that was just filled do not count.
const SETTINGS: &str = "set local search_path = pg_catalog, pg_temp; set local enable_seqscan = off; \
    set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0; \
    set local lock_timeout = '5s'; \
    select set_config(name, '0', true) from pg_settings where name = 'transaction_timeout'";

pub(super) struct Connection {
    runtime: Runtime,
    client: Client,
}

impl Connection {
    pub(super) fn open(target: &Target) -> Result<Self, StorageError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| StorageError::Io {
            context: "starting the client for PostgreSQL".to_owned(),
            source,
        })?;
        let client = runtime.block_on(async {
            let client = session::connect(target, None, ()).await?;
            session::check(&client).await.map(|_| client)
        })?;
        Ok(Self { runtime, client })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn block<T>(&self, operation: impl Future<Output = T>) -> T {
        self.runtime.block_on(operation)
    }

    pub(super) fn rows(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, StorageError> {
        let rows = self.block(self.client.query_typed(sql, parameters));
        Ok(rows.map_err(Failure::from)?)
    }

    pub(super) fn run(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.block(self.client.batch_execute(sql))?)
    }

    /// Begins a transaction in a mode, such as "read only". It ends with the connection.
    pub(super) fn begin(&self, mode: &str) -> Result<(), StorageError> {
        Ok(self.run(&format!("begin transaction {mode}; {SETTINGS}"))?)
    }

    /// Locks tables until the end of the transaction.
    pub(super) fn lock(&self, tables: &[&str], mode: &str) -> Result<(), StorageError> {
        let tables: Vec<String> = tables.iter().map(|table| format!("durable_streams.{table}")).collect();
        let locked = self.run(&format!("lock table {} in {mode} mode", tables.join(", ")));
        locked.map_err(|failure| match failure {
            Failure::Refused { code, .. } if code == SqlState::LOCK_NOT_AVAILABLE => StorageError::Unusable(
                "another copy, pg_dump or a server works with the tables of durable_streams: wait for it to end, or \
                 stop it, and try again"
                    .to_owned(),
            ),
            failure => failure.into(),
        })
    }
}
