//! New connections: made, checked, and refused if acknowledged data would not be safe.

use std::{pin::Pin, task::Poll};

use futures_util::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Notification};

use super::{
    failure::{Failure, describe},
    target::Target,
};

/// What a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// See [`SharedStore::history`](crate::storage::SharedStore::history).
    pub(super) history: u64,
    /// Why an acknowledgement may be worth less than it seems.
    pub(super) warnings: Vec<&'static str>,
}

/// What happens to the notifications of a connection.
pub(super) type OnNotification = Box<dyn Fn(Notification) + Send>;

/// Connects. The connection runs as a task of its own until the client is dropped or it fails.
pub(super) async fn connect(target: &Target, on_notification: Option<OnNotification>) -> Result<Client, Failure> {
    let away = |error: tokio_postgres::Error| Failure::Away(format!("{}: {}", target.shown, reason(&error)));
    match &target.tls {
        Some(tls) => {
            let (client, connection) = target.config.connect(tls.clone()).await.map_err(away)?;
            drop(tokio::spawn(drive(connection, on_notification)));
            Ok(client)
        }
        None => {
            let (client, connection) = target.config.connect(NoTls).await.map_err(away)?;
            drop(tokio::spawn(drive(connection, on_notification)));
            Ok(client)
        }
    }
}

fn reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(refusal) => format!("{}: {}", refusal.severity(), refusal.message()),
        None => describe(error),
    }
}

async fn drive<S, T>(mut connection: Connection<S, T>, on_notification: Option<OnNotification>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = poll_fn(|context| -> Poll<_> { Pin::new(&mut connection).poll_message(context) }).await;
        match message {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                if let Some(notify) = &on_notification {
                    notify(notification);
                }
            }
            Some(Ok(_)) => {}
            // Whoever waits for an answer hears of it.
            Some(Err(_)) | None => return,
        }
    }
}

/// Finds out what a new connection leads to.
pub(super) async fn check(client: &Client) -> Result<Origin, Failure> {
    const SETTINGS: &str = "select pg_is_in_recovery(), current_setting('fsync'), \
        current_setting('synchronous_commit'), current_setting('server_version_num')::int, \
        exists(select from pg_stat_replication where sync_state = 'async')";
    let row = client.query_typed_one(SETTINGS, &[]).await?;
    let malformed = |error: tokio_postgres::Error| Failure::Malformed(describe(&error));
    if row.try_get::<_, bool>(0).map_err(malformed)? {
        return Err(Failure::Away(
            "the database is a standby, which takes no writes: connect to the primary".to_owned(),
        ));
    }
    if row.try_get::<_, &str>(1).map_err(malformed)? == "off" {
        return Err(Failure::Away(
            "the database runs with fsync = off, so a crash would lose acknowledged data: switch it on".to_owned(),
        ));
    }
    let synchronous_commit: &str = row.try_get(2).map_err(malformed)?;
    if synchronous_commit == "off" {
        return Err(Failure::Away(
            "the database acknowledges before it writes (synchronous_commit = off): set it to on for this role"
                .to_owned(),
        ));
    }
    if row.try_get::<_, i32>(3).map_err(malformed)? < 140_000 {
        return Err(Failure::Away("PostgreSQL 14 or newer is required".to_owned()));
    }
    let mut warnings = Vec::new();
    if synchronous_commit == "local" {
        warnings.push("synchronous_commit = local: a failover to a standby may lose acknowledged data");
    }
    if row.try_get::<_, bool>(4).map_err(malformed)? {
        warnings.push("the database has an asynchronous standby: a failover to it may lose acknowledged data");
    }
    Ok(Origin {
        history: history(client).await?,
        warnings,
    })
}

/// A number for the system, its timeline and the database. A failover begins another timeline, and a backup
/// is restored to another one, to another system or to another database.
pub(super) async fn history(client: &Client) -> Result<u64, Failure> {
    const HISTORY: &str = "select system_identifier, \
        ('x' || lpad(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 16, '0'))::bit(64)::bigint, \
        (select oid::bigint from pg_database where datname = current_database()) from pg_control_system()";
    let row = client.query_typed_one(HISTORY, &[]).await?;
    let malformed = |error: tokio_postgres::Error| Failure::Malformed(describe(&error));
    let number = |column| row.try_get::<_, i64>(column).map_err(malformed);
    let (system, timeline, database) = (number(0)?, number(1)?, number(2)?);
    // Each step is a bijection, so two histories of one system and one database never meet.
    let mut number = system.cast_unsigned();
    for part in [timeline, database] {
        number = number.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part.cast_unsigned();
    }
    Ok(number)
}
