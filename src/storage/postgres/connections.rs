//! The connections of a store. Each is made when it is needed and again when it is lost.
//!
//! There are few of them. Callers share them, and each waits until the statement before is answered: if a
//! connection to PgBouncer ends after one of two pipelined statements was answered, the answer to the other
//! one goes to the next client that gets the connection to PostgreSQL.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio_postgres::{
    Client, NoTls, Row,
    types::{ToSql, Type},
};
use tokio_util::sync::CancellationToken;

use super::{
    failure::Failure,
    figures::Figures,
    outages::Outages,
    outcome::get,
    session::{self, History},
    target::Target,
};
use crate::clock::Clock;

/// Connections for bytes.
const BYTE_READERS: usize = 4;
/// Longest wait for the answer to a read.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections beyond which no further one is made, without that for notifications. Those that are not in use were
/// given up, and their backends have not ended yet.
pub(super) const MAX_CONNECTIONS: usize = 18;
/// How often the database is asked to end the statements of a connection that was given up.
const CANCEL_INTERVAL: Duration = Duration::from_secs(1);

/// A statement's parameters with their types, so that nothing has to be prepared.
pub(super) type Parameters<'p> = [(&'p (dyn ToSql + Sync), Type)];

/// A connection with the history that it leads to.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) client: Arc<Client>,
    pub(super) history: u64,
    /// The connection is closed.
    ended: CancellationToken,
}

type Slot = tokio::sync::Mutex<Option<Session>>;

/// The purpose of a statement. Those of one purpose do not wait for the answers to those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Lookups for clients. A connection is driven by the runtime on which it was made: here, the one
    /// that serves requests.
    FreshReads,
    /// Other lookups: the committer and news wait for them.
    Lookups,
    /// Bytes of streams, and lists.
    Bytes,
    /// Background work, which may take long.
    Upkeep,
}

/// A connection for reads, and how many of its answers are waited for.
#[derive(Default)]
struct Reader {
    slot: Slot,
    pending: AtomicUsize,
    /// Held from a statement to its answer.
    turn: tokio::sync::Mutex<()>,
}

/// Counts as pending until it is dropped.
struct Pending<'r>(&'r Reader);

impl<'r> Pending<'r> {
    fn on(reader: &'r Reader) -> Self {
        reader.pending.fetch_add(1, Ordering::Relaxed);
        Self(reader)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct Connections {
    target: Target,
    clock: Clock,
    fresh_reads: Reader,
    lookups: Reader,
    bytes: [Reader; BYTE_READERS],
    upkeep: Reader,
    pub(super) commits: Slot,
    /// The history of the newest connection, and its number.
    newest: Mutex<Option<History>>,
    history: AtomicU64,
    /// Called when it changes.
    on_history: Box<dyn Fn() + Send + Sync>,
    outages: Outages,
    /// Each connection that is not closed holds a clone.
    pub(super) alive: Arc<()>,
    /// The answer to a write was late: it may wait for a synchronous standby.
    has_late_write: AtomicBool,
    pub(super) figures: Figures,
}

impl Connections {
    pub(super) fn new(target: Target, clock: Clock, on_history: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            outages: Outages::new(target.shown.clone(), clock.clone()),
            target,
            fresh_reads: Reader::default(),
            lookups: Reader::default(),
            bytes: Default::default(),
            upkeep: Reader::default(),
            commits: Slot::default(),
            newest: Mutex::default(),
            history: AtomicU64::new(0),
            on_history,
            alive: Arc::default(),
            has_late_write: AtomicBool::new(false),
            figures: Figures::default(),
            clock,
        }
    }

    pub(super) fn history(&self) -> u64 {
        self.history.load(Ordering::Acquire)
    }

    /// Why the database cannot be reached; `None` if it can.
    pub(super) fn outage(&self) -> Option<String> {
        self.outages.reason()
    }

    /// Runs a lookup. It may be run twice.
    pub(super) async fn read(&self, sql: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, Failure> {
        self.read_for(Purpose::Lookups, sql, parameters).await
    }

    /// Runs a statement that may be run twice: a read, or a write of the server's own.
    pub(super) async fn read_for(
        &self,
        purpose: Purpose,
        sql: &str,
        parameters: &Parameters<'_>,
    ) -> Result<Vec<Row>, Failure> {
        self.figures.reads.add(1);
        let pending = Pending::on(self.reader(purpose));
        let slot = &pending.0.slot;
        let _turn = self.turn(pending.0).await?;
        let mut lost = None;
        for _ in 0..2 {
            let session = self.session(slot).await?;
            let sent = self.clock.instant();
            let answer = query(&session, sql, parameters, READ_TIMEOUT).await;
            self.figures
                .read_time
                .add(self.clock.instant().saturating_duration_since(sent));
            match answer {
                Err(failure) if failure.is_of_connection() => {
                    self.give_up(slot, &session).await;
                    lost = Some(failure);
                }
                Err(failure) => {
                    if failure.spoils_connection() {
                        self.discard(slot, &session).await;
                    }
                    return Err(failure);
                }
                Ok(rows) => {
                    self.outages.end();
                    return Ok(rows);
                }
            }
        }
        let failure = lost.unwrap_or_else(|| Failure::Away("no attempt".to_owned()));
        // Upkeep that takes too long tells nothing of the database.
        if purpose != Purpose::Upkeep {
            self.outages.note(&failure.to_string());
        }
        Err(failure)
    }

    /// Waits until the connection has answered the statements before.
    async fn turn<'r>(&self, reader: &'r Reader) -> Result<tokio::sync::MutexGuard<'r, ()>, Failure> {
        let turn = tokio::time::timeout(READ_TIMEOUT, reader.turn.lock()).await;
        turn.map_err(|_| {
            Failure::Away(format!(
                "{}: earlier statements were not answered within {READ_TIMEOUT:?}",
                self.target.shown
            ))
        })
    }

    fn reader(&self, purpose: Purpose) -> &Reader {
        match purpose {
            Purpose::FreshReads => &self.fresh_reads,
            Purpose::Lookups => &self.lookups,
            Purpose::Bytes => {
                let [first, others @ ..] = &self.bytes;
                let pending = |reader: &Reader| reader.pending.load(Ordering::Relaxed);
                others.iter().fold(
                    first,
                    |least, other| if pending(other) < pending(least) { other } else { least },
                )
            }
            Purpose::Upkeep => &self.upkeep,
        }
    }

    /// The connection of a slot.
    pub(super) async fn session(&self, slot: &Slot) -> Result<Session, Failure> {
        let mut slot = match (slot.try_lock(), self.outage()) {
            (Ok(slot), _) => slot,
            // Another caller is trying to connect, for as long as that takes.
            (Err(_), Some(reason)) => return Err(Failure::Away(reason)),
            (Err(_), None) => slot.lock().await,
        };
        if let Some(session) = &*slot
            && !session.client.is_closed()
            && session.history == self.history()
        {
            return Ok(session.clone());
        }
        let session = self.open(None).await?;
        *slot = Some(session.clone());
        Ok(session)
    }

    /// A new connection.
    pub(super) async fn open(&self, on_notification: Option<session::OnNotification>) -> Result<Session, Failure> {
        if let Some(reason) = self.outages.refusal() {
            return Err(Failure::Away(reason));
        }
        if Arc::strong_count(&self.alive) > MAX_CONNECTIONS {
            let reason = format!(
                "{}: {MAX_CONNECTIONS} connections wait for answers that do not come",
                self.target.shown
            );
            self.outages.note(&reason);
            return Err(Failure::Away(reason));
        }
        let ended = CancellationToken::new();
        let guard = (Arc::clone(&self.alive), ended.clone().drop_guard());
        let opened = async {
            let client = session::connect(&self.target, on_notification, guard).await?;
            let origin = session::check(&client).await?;
            Ok((client, origin))
        };
        let patience = self.target.patience(READ_TIMEOUT).await;
        let opened = tokio::time::timeout(patience, opened).await;
        let late = || Failure::Away(format!("{}: no answer within {patience:?}", self.target.shown));
        let opened = opened.unwrap_or_else(|_| Err(late())).and_then(|(client, origin)| {
            self.note_history(origin.history)?;
            Ok((client, origin))
        });
        match opened {
            Ok((client, origin)) => {
                self.outages.end();
                origin.warnings.iter().for_each(|warning| self.outages.warn(warning));
                Ok(Session {
                    client: Arc::new(client),
                    history: origin.history.number(),
                    ended,
                })
            }
            Err(failure) => {
                self.outages.note(&failure.to_string());
                Err(failure.before_use())
            }
        }
    }

    /// Forgets a connection that has failed. False: it was replaced already.
    pub(super) async fn discard(&self, slot: &Slot, failed: &Session) -> bool {
        let mut slot = slot.lock().await;
        let is_held = slot
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(&held.client, &failed.client));
        if is_held {
            *slot = None;
        }
        is_held
    }

    /// As [`Self::discard`], and has the database end what the connection still waits for. A backend does not
    /// detect that its client is gone while it waits for a lock, however long that is held.
    ///
    /// Not for commits: one that is ended while it waits for a synchronous standby is shown to others although no
    /// standby has it.
    pub(super) async fn give_up(&self, slot: &Slot, failed: &Session) {
        if self.discard(slot, failed).await && !failed.client.is_closed() {
            let (token, tls, ended) = (
                failed.client.cancel_token(),
                self.target.tls.clone(),
                failed.ended.clone(),
            );
            drop(tokio::spawn(ended.run_until_cancelled_owned(async move {
                loop {
                    let cancel = async {
                        match &tls {
                            Some(tls) => token.cancel_query(tls.clone()).await,
                            None => token.cancel_query(NoTls).await,
                        }
                    };
                    // The next attempt may reach it.
                    let _ = tokio::time::timeout(READ_TIMEOUT, cancel).await;
                    tokio::time::sleep(CANCEL_INTERVAL).await;
                }
            })));
        }
    }

    /// Finds out where the open connections lead, which a pooler may change.
    pub(super) async fn check_history(&self) {
        let Ok(_turn) = self.turn(&self.lookups).await else {
            return;
        };
        let Ok(session) = self.session(&self.lookups.slot).await else {
            return;
        };
        let history = match tokio::time::timeout(READ_TIMEOUT, session::history(&session.client)).await {
            Ok(Ok(history)) => self.note_history(history),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::Lost(format!("no answer within {READ_TIMEOUT:?}"))),
        };
        let Err(failure) = history else { return };
        self.give_up(&self.lookups.slot, &session).await;
        // One that does not answer tells nothing of the others.
        if !matches!(failure, Failure::Lost(_)) {
            // Every new connection is checked.
            let readers = self
                .bytes
                .iter()
                .chain([&self.fresh_reads, &self.lookups, &self.upkeep]);
            for slot in readers.map(|reader| &reader.slot).chain([&self.commits]) {
                *slot.lock().await = None;
            }
        }
    }

    /// Connections to another history are not used again: see [`Connections::session`]. An earlier timeline is
    /// that of an old primary, which lacks what was acknowledged since and must not take writes.
    pub(super) fn note_history(&self, history: History) -> Result<(), Failure> {
        let mut newest = self.newest.lock();
        if let Some(newest) = newest.filter(|newest| history.is_before(*newest)) {
            return Err(Failure::Unusable(format!(
                "{}: the database is on timeline {}, which ended when timeline {} began: it is an old primary, and \
                 must be stopped. After the restore of an older copy, restart this server",
                self.target.shown, history.timeline, newest.timeline
            )));
        }
        let before = newest.replace(history);
        self.history.store(history.number(), Ordering::Release);
        drop(newest);
        let Some(before) = before.filter(|before| *before != history) else {
            return Ok(());
        };
        // Otherwise the schema was created.
        if before.log != 0 {
            tracing::error!(
                database = self.target.shown,
                "the database has another history than before, after a failover or because a backup was restored: \
                 acknowledged data may be lost. Everything in memory is read again"
            );
        }
        (self.on_history)();
        Ok(())
    }

    /// A write on this connection was not answered in time.
    pub(super) fn note_late_write(&self) {
        self.has_late_write.store(true, Ordering::Release);
    }

    /// Fails while an earlier write waits for a synchronous standby. Another one would wait as well, on another
    /// connection each time, until the database has none left.
    ///
    /// With a standby that confirms, some session waits at any moment, and each of them for a few milliseconds.
    /// A write that was not answered in time has waited for longer than these 2.5 seconds.
    pub(super) async fn check_standby(&self) -> Result<(), Failure> {
        const WAITS: &str = "select exists(select from pg_stat_activity \
            where wait_event = 'SyncRep' and usename = current_user and datname = current_database() \
            and query_start < clock_timestamp() - interval '2.5 seconds')";
        if !self.has_late_write.load(Ordering::Acquire) {
            return Ok(());
        }
        let rows = self.read(WAITS, &[]).await?;
        if rows.first().map_or(Ok(false), |row| get(row, 0))? {
            let reason = "the database waits for its synchronous standby before it acknowledges writes";
            self.outages.warn(reason);
            return Err(Failure::Away(reason.to_owned()));
        }
        self.has_late_write.store(false, Ordering::Release);
        Ok(())
    }
}

/// Runs a statement on a connection.
pub(super) async fn query(
    session: &Session,
    sql: &str,
    parameters: &Parameters<'_>,
    timeout: Duration,
) -> Result<Vec<Row>, Failure> {
    match tokio::time::timeout(timeout, session.client.query_typed(sql, parameters)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::Lost(format!("no answer within {timeout:?}"))),
    }
}
