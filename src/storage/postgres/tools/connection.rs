//! The one connection of a tool. Its statements take as long as they take.

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Row, error::SqlState};

use super::{Target, session};
use crate::storage::{
    StorageError,
    postgres::{connections::Parameters, failure::Failure},
};

/// No statement of a tool is too long, and a tool may wait for the other side of a copy. No other role's functions are called, and the statistics of a table that was just filled do not count.
const SETTINGS: &str = "set local search_path = pg_catalog, pg_temp; set local enable_seqscan = off; \
    set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0; \
    set local lock_timeout = '5s'";
/// The first version with a timeout of transactions.
const TRANSACTION_TIMEOUT_SINCE: i32 = 170_000;

pub(super) struct Connection {
    runtime: Runtime,
    client: Client,
    version: i32,
}

impl Connection {
    pub(super) fn open(target: &Target) -> Result<Self, StorageError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| StorageError::Io {
            context: "starting the client for PostgreSQL".to_owned(),
            source,
        })?;
        let (client, version) = runtime.block_on(async {
            let client = session::connect(target, None, ()).await?;
            let origin = session::check(&client).await?;
            Ok::<_, Failure>((client, origin.version))
        })?;
        Ok(Self {
            runtime,
            client,
            version,
        })
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

    /// Begins a transaction in a mode, such as "read only". It ends with the connection. Its snapshot is not
    /// taken yet: what is locked first can have been changed until then.
    pub(super) fn begin(&self, mode: &str) -> Result<(), StorageError> {
        let timeout = match self.version >= TRANSACTION_TIMEOUT_SINCE {
            true => "; set local transaction_timeout = 0",
            false => "",
        };
        Ok(self.run(&format!("begin transaction {mode}; {SETTINGS}{timeout}"))?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{storage::postgres::outcome::get, test_support::postgres::Postgres};

    /// Otherwise a copy would leave out what a server has committed before the lock is granted.
    #[test]
    fn the_snapshot_is_taken_after_the_lock() {
        let database = Postgres::shared().database();
        database.sql("create schema durable_streams; create table durable_streams.ids as select 1::bigint as next");
        let connection = Connection::open(&database.url().parse().unwrap()).unwrap();
        connection.begin("isolation level repeatable read").unwrap();
        database.sql("update durable_streams.ids set next = 777");
        connection.lock(&["ids"], "share").unwrap();
        let rows = connection.rows("select next from durable_streams.ids", &[]).unwrap();
        assert_eq!(get::<i64>(&rows[0], 0).unwrap(), 777);
    }
}
