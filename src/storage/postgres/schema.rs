//! The schema: created or brought up to date at a start, or printed for whoever may create it.

use tokio_postgres::{Client, error::SqlState};

use super::{failure::Failure, outcome::get};
use crate::storage::StorageError;

const TABLES: &str = include_str!("sql/tables.sql");
/// The functions that servers call. A name has a version, so that two releases can run side by side.
///
/// No session settings are needed, because they do not survive a pooler. Each function brings its own: a generic
/// plan by indexes, whatever the statistics of a new database say, and a limit for lock waits. No just-in-time
/// compilation: the switches make plans look expensive, and compiling one of them takes 300 ms.
const FUNCTIONS: &str = concat!(
    include_str!("sql/functions/commit.sql"),
    include_str!("sql/functions/reads.sql"),
    include_str!("sql/functions/servers.sql"),
    include_str!("sql/functions/upkeep.sql"),
    include_str!("sql/protection.sql"),
);

/// The version of the tables. Servers of different versions cannot share a database.
const VERSION: i64 = 1;
/// Raised with each change of the functions. Those of other releases stay, because their names have versions.
const FUNCTIONS_REVISION: i64 = 9;
/// One server at a time. Other numbers under 29541 are buckets of names. No other role's functions are called.
const LOCK: &str = "set local search_path = pg_catalog, pg_temp; select pg_advisory_xact_lock(29541, 1000)";

/// The whole schema as SQL, for a role that may not create it itself; with the rights of a server's role. Run
/// again, it brings the functions and the rights up to date.
#[must_use]
pub fn schema(role: Option<&str>) -> String {
    let tables = format!(
        "do $schema$\nbegin\n  if to_regclass('durable_streams.format') is null then\n    execute $tables$\n{TABLES}\n\
         $tables$;\n  elsif (select version from durable_streams.format) > {VERSION} then\n    \
         raise exception 'the schema durable_streams has a newer format than this release';\n  end if;\nend \
         $schema$;"
    );
    let rights = role.map(rights).unwrap_or_default();
    format!(
        "begin;\n{LOCK};\n\n{tables}\n\n{FUNCTIONS}\n{};\n{rights}commit;\n",
        installed()
    )
}

/// The rights of the role that servers connect as.
fn rights(role: &str) -> String {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    format!(
        "\ngrant usage on schema durable_streams to {role};\n\
         grant select, insert, update, delete on all tables in schema durable_streams to {role};\n\
         grant execute on all functions in schema durable_streams to {role};\n"
    )
}

fn installed() -> String {
    format!("update durable_streams.format set functions = {FUNCTIONS_REVISION} where functions < {FUNCTIONS_REVISION}")
}

/// Creates the schema, or what is missing of it.
pub(super) async fn ensure(client: &Client) -> Result<(), StorageError> {
    if !is_complete(client).await? {
        client.batch_execute("begin").await.map_err(Failure::from)?;
        let result = install(client).await;
        let end = if result.is_ok() { "commit" } else { "rollback" };
        let ended = client.batch_execute(end).await.map_err(Failure::from);
        result?;
        ended?;
    }
    check_rights(client).await
}

/// Fails unless the schema is there and of this release.
pub(super) async fn require(client: &Client) -> Result<(), StorageError> {
    if is_complete(client).await? {
        return Ok(());
    }
    Err(StorageError::Unusable(match version(client).await? {
        None => "the database has no streams: it has no schema durable_streams".to_owned(),
        Some(_) => {
            "the schema durable_streams is of an earlier release: start a server of this release first, or have \
                    an administrator run the output of `durable-streams-server storage schema`"
                .to_owned()
        }
    }))
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
    let row = client.query_typed_one(VERSION, &[]).await.map_err(Failure::from);
    let row = row.map_err(|failure| denied(failure, "use"))?;
    Ok(Some((get(&row, 0)?, get(&row, 1)?)))
}

/// Fails unless the role may use every table and function.
async fn check_rights(client: &Client) -> Result<(), StorageError> {
    const MISSING: &str = "select (select 'the table ' || c.relname from pg_catalog.pg_class c \
            where c.relnamespace = n.oid and c.relkind = 'r' and not (has_table_privilege(c.oid, 'select') \
              and has_table_privilege(c.oid, 'insert') and has_table_privilege(c.oid, 'update') \
              and has_table_privilege(c.oid, 'delete')) limit 1), \
          (select 'the function ' || p.proname from pg_catalog.pg_proc p \
            where p.pronamespace = n.oid and not has_function_privilege(p.oid, 'execute') limit 1) \
        from pg_catalog.pg_namespace n where n.nspname = 'durable_streams'";
    let row = client.query_typed_one(MISSING, &[]).await.map_err(Failure::from)?;
    let missing: [Option<&str>; 2] = [get(&row, 0)?, get(&row, 1)?];
    match missing.into_iter().flatten().next() {
        None => Ok(()),
        Some(what) => Err(unprivileged("use", &format!("no rights to {what}"))),
    }
}

async fn run(client: &Client, sql: &str) -> Result<(), StorageError> {
    let done = client.batch_execute(sql).await.map_err(Failure::from);
    done.map_err(|failure| denied(failure, "create or update"))
}

/// A failure, which may be a lack of rights to do something with the schema.
fn denied(failure: Failure, action: &str) -> StorageError {
    match failure {
        Failure::Refused { code, message } if code == SqlState::INSUFFICIENT_PRIVILEGE => {
            unprivileged(action, &message)
        }
        failure => failure.into(),
    }
}

fn unprivileged(action: &str, reason: &str) -> StorageError {
    StorageError::Unusable(format!(
        "the role may not {action} the schema durable_streams ({reason}): have an administrator run the output of \
         `durable-streams-server storage schema --role ROLE` with psql"
    ))
}
