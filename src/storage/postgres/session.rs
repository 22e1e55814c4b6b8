//! New connections: made, checked, and refused if acknowledged data would not be safe.

use std::{io, pin::Pin, task::Poll};

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
    pub(super) history: History,
    /// PostgreSQL's, such as 150018.
    pub(super) version: i32,
    /// Why an acknowledgement may be worth less than it seems.
    pub(super) warnings: Vec<&'static str>,
}

/// What happens to the notifications of a connection.
pub(super) type OnNotification = Box<dyn Fn(Notification) + Send>;

/// Connects. The connection runs as a task of its own, and drops `guard` when it ends: if it fails, or the client
/// is dropped and every statement that was sent is answered.
pub(super) async fn connect(
    target: &Target,
    on_notification: Option<OnNotification>,
    guard: impl Send + 'static,
) -> Result<Client, Failure> {
    let failed = |error: tokio_postgres::Error| {
        let text = format!("{}: {}", target.shown, reason(&error));
        match is_lasting(&error) {
            true => Failure::Unusable(text),
            false => Failure::Away(text),
        }
    };
    match &target.tls {
        Some(tls) => {
            let (client, connection) = target.config.connect(tls.clone()).await.map_err(failed)?;
            drop(tokio::spawn(drive(connection, on_notification, guard)));
            Ok(client)
        }
        None => {
            let (client, connection) = target.config.connect(NoTls).await.map_err(failed)?;
            drop(tokio::spawn(drive(connection, on_notification, guard)));
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

/// Whether a connection fails until somebody changes a setting: of the user, the password, the database or TLS.
fn is_lasting(error: &tokio_postgres::Error) -> bool {
    if let Some(refusal) = error.as_db_error() {
        return ["28", "3D", "42"]
            .iter()
            .any(|class| refusal.code().code().starts_with(class));
    }
    let Some(source) = std::error::Error::source(error) else {
        return false;
    };
    // Other sources are of the client library itself: it has no password, or the server has no TLS.
    source.downcast_ref::<io::Error>().is_none_or(|source| {
        let inner = source.get_ref();
        inner.is_some_and(|inner| matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
    })
}

async fn drive<S, T, G>(mut connection: Connection<S, T>, on_notification: Option<OnNotification>, _guard: G)
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
        current_setting('server_encoding'), exists(select from pg_stat_replication where sync_state = 'async')";
    let row = client.query_typed_one(SETTINGS, &[]).await?;
    let malformed = |error: tokio_postgres::Error| Failure::Malformed(describe(&error));
    if row.try_get::<_, bool>(0).map_err(malformed)? {
        return Err(Failure::Standby);
    }
    if row.try_get::<_, &str>(1).map_err(malformed)? == "off" {
        return Err(Failure::Unusable(
            "the database runs with fsync = off, so a crash would lose acknowledged data: switch it on".to_owned(),
        ));
    }
    let synchronous_commit: &str = row.try_get(2).map_err(malformed)?;
    if synchronous_commit == "off" {
        return Err(Failure::Unusable(
            "the database acknowledges before it writes (synchronous_commit = off): set it to on for this role"
                .to_owned(),
        ));
    }
    let version: i32 = row.try_get(3).map_err(malformed)?;
    if version < 140_000 {
        return Err(Failure::Unusable("PostgreSQL 14 or newer is required".to_owned()));
    }
    let encoding: &str = row.try_get(4).map_err(malformed)?;
    if encoding != "UTF8" {
        return Err(Failure::Unusable(format!(
            "the database has the encoding {encoding}, which lacks characters of stream names: create one with \
             encoding 'UTF8' template template0"
        )));
    }
    let mut warnings = Vec::new();
    if synchronous_commit == "local" {
        warnings.push("synchronous_commit = local: a failover to a standby may lose acknowledged data");
    }
    if row.try_get::<_, bool>(5).map_err(malformed)? {
        warnings.push("the database has an asynchronous standby: a failover to it may lose acknowledged data");
    }
    Ok(Origin {
        history: history(client).await?,
        version,
        warnings,
    })
}

/// The system, its timeline, the database and a table. A failover begins another timeline. A backup is restored
/// to another timeline, system or database, or as other tables of the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct History {
    pub(super) system: i64,
    pub(super) timeline: i64,
    pub(super) database: i64,
    /// The oid of the log; 0: there is no schema yet.
    pub(super) log: i64,
}

impl History {
    /// See [`SharedStore::history`](crate::storage::SharedStore::history).
    pub(super) fn number(self) -> u64 {
        // Each step is a bijection, so two histories that differ in one part never meet.
        let mut number = self.system.cast_unsigned();
        for part in [self.timeline, self.database, self.log] {
            number = number.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part.cast_unsigned();
        }
        number
    }

    /// Whether it ended when the other one began.
    pub(super) fn is_before(self, other: Self) -> bool {
        (self.system, self.database) == (other.system, other.database) && self.timeline < other.timeline
    }
}

pub(super) async fn history(client: &Client) -> Result<History, Failure> {
    const HISTORY: &str = "select system_identifier, \
        ('x' || lpad(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), 16, '0'))::bit(64)::bigint, \
        (select oid::bigint from pg_database where datname = current_database()), \
        coalesce((select c.oid::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace \
          where n.nspname = 'durable_streams' and c.relname = 'log'), 0) from pg_control_system()";
    let row = client.query_typed_one(HISTORY, &[]).await?;
    let malformed = |error: tokio_postgres::Error| Failure::Malformed(describe(&error));
    let number = |column| row.try_get::<_, i64>(column).map_err(malformed);
    Ok(History {
        system: number(0)?,
        timeline: number(1)?,
        database: number(2)?,
        log: number(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_timeline_of_the_same_database_has_ended() {
        let history = |system, timeline, database| History {
            system,
            timeline,
            database,
            log: 9,
        };
        let present = history(7, 2, 5);
        assert!(history(7, 1, 5).is_before(present));
        for other in [present, history(7, 3, 5), history(8, 1, 5), history(7, 1, 6)] {
            assert!(!other.is_before(present), "{other:?}");
        }
        assert_ne!(history(7, 1, 5).number(), present.number());
        assert_ne!(History { log: 10, ..present }.number(), present.number());
    }
}
