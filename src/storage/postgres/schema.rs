//! The schema: created or brought up to date at a start, or printed for whoever may create it.

use tokio_postgres::{Client, error::SqlState};

use super::{failure::Failure, outcome::get};
use crate::storage::StorageError;

const TABLES: &str = include_str!("sql/tables.sql");
const FUNCTIONS: &str = include_str!("sql/functions.sql");

/// The version of the tables. Servers of different versions cannot share a database.
const VERSION: i64 = 1;
/// Raised with each change of the functions. Those of other releases stay, because their names have versions.
const FUNCTIONS_REVISION: i64 = 2;
/// One server at a time. Other numbers under 29541 are buckets of names.
const LOCK: &str = "select pg_advisory_xact_lock(29541, 1000)";

/// The whole schema as SQL, for a role that may not create it itself.
#[must_use]
pub fn schema() -> String {
    format!("begin;\n{LOCK};\n\n{TABLES}\n{FUNCTIONS}\n{};\ncommit;\n", installed())
}

fn installed() -> String {
    format!("update durable_streams.format set functions = {FUNCTIONS_REVISION} where functions < {FUNCTIONS_REVISION}")
}

/// Creates the schema, or what is missing of it.
pub(super) async fn ensure(client: &Client) -> Result<(), StorageError> {
    if is_complete(client).await? {
        return Ok(());
    }
    client.batch_execute("begin").await.map_err(Failure::from)?;
    let result = install(client).await;
    let end = if result.is_ok() { "commit" } else { "rollback" };
    let ended = client.batch_execute(end).await.map_err(Failure::from);
    result?;
    Ok(ended?)
}

async fn install(client: &Client) -> Result<(), StorageError> {
    run(client, LOCK).await?;
    // Another server may have done it during the wait.
    if is_complete(client).await? {
        return Ok(());
    }
    if version(client).await?.is_none() {
        run(client, TABLES).await?;
    }
    run(client, FUNCTIONS).await?;
    run(client, &installed()).await
}

/// Whether there is nothing to do.
async fn is_complete(client: &Client) -> Result<bool, StorageError> {
    match version(client).await? {
        Some((version, _)) if version > VERSION => Err(StorageError::NewerFormat {
            found: super::encoding::unsigned(version),
            supported: super::encoding::unsigned(VERSION),
        }),
        Some((_, functions)) => Ok(functions >= FUNCTIONS_REVISION),
        None => Ok(false),
    }
}

/// The versions of the tables and the functions; `None`: there are none.
async fn version(client: &Client) -> Result<Option<(i64, i64)>, StorageError> {
    // Not `to_regclass`: inside a transaction, it may know only what was there before the wait for the lock.
    const EXISTS: &str = "select exists(select from pg_catalog.pg_class c \
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
        where n.nspname = 'durable_streams' and c.relname = 'format')";
    const VERSION: &str = "select version, functions from durable_streams.format";
    let row = client.query_typed_one(EXISTS, &[]).await.map_err(Failure::from)?;
    if !get::<bool>(&row, 0)? {
        return Ok(None);
    }
    let row = client.query_typed_one(VERSION, &[]).await.map_err(Failure::from)?;
    Ok(Some((get(&row, 0)?, get(&row, 1)?)))
}

async fn run(client: &Client, sql: &str) -> Result<(), StorageError> {
    match client.batch_execute(sql).await.map_err(Failure::from) {
        Ok(()) => Ok(()),
        Err(Failure::Refused { code, message }) if code == SqlState::INSUFFICIENT_PRIVILEGE => Err(StorageError::Io {
            context: "the role may not create or update the schema durable_streams; have an administrator run the \
                    output of `durable-streams-server storage schema`"
                .to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::PermissionDenied, message),
        }),
        Err(failure) => Err(failure.into()),
    }
}
