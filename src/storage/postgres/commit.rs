//! Commits: one round trip for a batch, and certainty about its outcome before anything is answered.
//!
//! A lane is one start of one server. Its commits are serial and numbered, and the log has a row for each. If
//! the answer to commit `n` is lost, `settle_v1` finds its row, or leaves an empty row in its place. In the
//! second case the commit can no longer happen, because a backend that is still at work with it will fail on
//! the primary key of the log. Only then is the batch sent again, with the next number.

use std::time::Duration;

use bytes::Bytes;
use tokio_postgres::{Row, types::Type};

use super::{
    batch::{Batch, Writers},
    clock::StoreClock,
    connections::{Connections, Parameters, Session, query},
    failure::Failure,
    outcome::{Committed, LogRow, News, answered, get, recovered},
};
use crate::storage::CommitError;

/// How long a commit is tried, or its outcome looked for, before it is answered. A task goes on to look for it.
const MAX_DOUBT: Duration = Duration::from_secs(10);
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait between attempts after an answer was lost.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

const COMMIT: &str = "select * from durable_streams.commit_v1(\
    $1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,\
    $30,$31,$32,$33)";
const SETTLE: &str = "select ids, revs, tails, streams, bytes from durable_streams.settle_v1($1, $2)";
/// No standby is waited for: the first commit of the lane does that.
const REGISTER: &str = "select durable_streams.register_v1($1), set_config('synchronous_commit', 'local', true)";

/// The commits of one start of a server.
pub(super) struct Lane {
    name: String,
    id: i64,
    /// The last number that was used.
    n: i64,
    /// The outcome of commit `n` is unknown.
    is_unsettled: bool,
    /// Commits that turned out to have happened after their outcome was said to be unknown, with their lanes.
    late: Vec<(i64, News)>,
    history: u64,
    /// It has ended, or another server uses it: the next commit needs another one.
    has_ended: bool,
}

enum Settled {
    Committed(LogRow),
    Never,
    LaneEnded,
}

impl Lane {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            id: 0,
            n: 0,
            is_unsettled: false,
            late: Vec::new(),
            history: 0,
            has_ended: false,
        }
    }

    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// Begins a lane in the present history of the store.
    pub(super) async fn register(&mut self, connections: &Connections) -> Result<(), Failure> {
        let session = connections.session(&connections.commits).await?;
        let rows = ask(connections, &session, REGISTER, &[(&self.name, Type::TEXT)]).await?;
        let row = rows.first().ok_or_else(|| Failure::Malformed("no lane".to_owned()))?;
        *self = Self {
            id: get(row, 0)?,
            history: session.history,
            late: std::mem::take(&mut self.late),
            ..Self::new(std::mem::take(&mut self.name))
        };
        Ok(())
    }

    /// The late commits, which nobody has been told of.
    pub(super) fn take_late(&mut self) -> Vec<(i64, News)> {
        std::mem::take(&mut self.late)
    }

    /// Begins another lane if the history has changed: in a restored database, the number of this one may be
    /// another server's. Then finds out about a commit whose outcome was said to be unknown.
    pub(super) async fn keep_up(&mut self, connections: &Connections) -> Result<(), CommitError> {
        if self.history != connections.history() {
            self.register(connections).await.map_err(not_sent)?;
        }
        if !self.is_unsettled {
            return Ok(());
        }
        let session = connections.session(&connections.commits).await.map_err(not_sent)?;
        if session.history != self.history {
            return Ok(());
        }
        self.settle_last(connections, &session).await
    }

    /// Commits a batch that was judged in a history of the store.
    pub(super) async fn commit(
        &mut self,
        connections: &Connections,
        clock: &StoreClock,
        judged_in: u64,
        batch: &Batch,
    ) -> Result<Committed, CommitError> {
        let started = clock.local().instant();
        let mut was_taken = false;
        loop {
            let session = connections.session(&connections.commits).await.map_err(not_sent)?;
            if session.history != judged_in {
                // The batch was judged on what may be lost.
                return Err(not_sent(Failure::Away("the database was replaced".to_owned())));
            }
            if self.has_ended || session.history != self.history {
                self.register(connections).await.map_err(not_sent)?;
                continue;
            }
            connections.check_standby().await.map_err(not_sent)?;
            if self.is_unsettled {
                self.settle_last(connections, &session).await?;
                continue;
            }
            let sent = clock.local().instant();
            let failure = match self.send(&session, batch).await {
                Ok(row) => {
                    let received = clock.local().instant();
                    let took = received.saturating_duration_since(sent);
                    connections.figures.commit_time.add(took);
                    let read = get(&row, 0).and_then(|now| Ok((now, answered(&row, batch, self.n + 1)?)));
                    match read {
                        Ok((now, committed)) => {
                            clock.note(now, sent, received);
                            self.n += i64::from(committed.news.is_some());
                            return Ok(committed);
                        }
                        // The log has what happened.
                        Err(failure) => Failure::Lost(format!("an answer cannot be read: {failure}")),
                    }
                }
                Err(failure) => failure,
            };
            let elapsed = || clock.local().instant().saturating_duration_since(started);
            if failure.spoils_connection() {
                connections.discard(&connections.commits, &session).await;
            }
            match failure {
                Failure::Lost(reason) => {
                    connections.figures.lost_answers.add(1);
                    connections.note_late_write();
                    self.is_unsettled = batch.changes();
                    if let Some(committed) = self.settle_batch(connections, clock, batch, started, &reason).await? {
                        return Ok(committed);
                    }
                    if elapsed() >= MAX_DOUBT {
                        return Err(not_sent(Failure::Away(reason)));
                    }
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                // An earlier commit has the number, although nothing is known of it.
                Failure::NumberTaken if !std::mem::replace(&mut was_taken, true) => self.is_unsettled = true,
                // Another server uses the lane.
                Failure::NumberTaken => self.has_ended = true,
                // Nothing was heard of this server for an hour.
                ended if ended.is_ended_lane() => self.has_ended = true,
                passing if passing.is_passing() && elapsed() < MAX_DOUBT => {
                    tracing::debug!(reason = %passing, "a commit is repeated");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                full if full.is_full() => return Err(CommitError::Full(full.to_string())),
                failure => return Err(CommitError::Storage(failure.into())),
            }
        }
    }

    /// Finds out whether the batch was committed whose answer was lost. `None`: it was not, and will not be.
    async fn settle_batch(
        &mut self,
        connections: &Connections,
        clock: &StoreClock,
        batch: &Batch,
        started: std::time::Instant,
        reason: &str,
    ) -> Result<Option<Committed>, CommitError> {
        if !self.is_unsettled {
            return Ok(None);
        }
        let unknown = |reason: String| CommitError::Unknown(reason);
        loop {
            if clock.local().instant().saturating_duration_since(started) >= MAX_DOUBT {
                return Err(unknown(format!("{reason}, and the database could not be asked since")));
            }
            let settled = match connections.session(&connections.commits).await {
                Ok(session) if session.history != self.history => {
                    return Err(unknown(format!("{reason}, and the database was replaced")));
                }
                Ok(session) => self.settle(connections, &session).await,
                Err(failure) => Err(failure),
            };
            match settled {
                Ok(Settled::Committed(row)) => return Ok(Some(recovered(&row, batch, self.n))),
                Ok(Settled::Never) => return Ok(None),
                Ok(Settled::LaneEnded) => {
                    self.has_ended = true;
                    return Err(unknown(format!(
                        "{reason}, and this server was not heard of for an hour"
                    )));
                }
                Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
            }
        }
    }

    /// Settles what an earlier call left open, before anything else is committed.
    async fn settle_last(&mut self, connections: &Connections, session: &Session) -> Result<(), CommitError> {
        match self.settle(connections, session).await {
            Ok(Settled::Committed(row)) => {
                self.late.push((self.id, row.news(self.n)));
                Ok(())
            }
            Ok(Settled::Never) => Ok(()),
            Ok(Settled::LaneEnded) => self.register(connections).await.map_err(not_sent),
            Err(failure) => Err(not_sent(failure)),
        }
    }

    async fn settle(&mut self, connections: &Connections, session: &Session) -> Result<Settled, Failure> {
        let number = self.n + 1;
        let parameters = [(&self.id as _, Type::INT8), (&number as _, Type::INT8)];
        let rows = ask(connections, session, SETTLE, &parameters).await?;
        let Some(row) = rows.first() else {
            return Ok(Settled::LaneEnded);
        };
        let row = LogRow {
            ids: get(row, 0)?,
            revs: get(row, 1)?,
            tails: get(row, 2)?,
            streams: get(row, 3)?,
            bytes: get(row, 4)?,
        };
        self.is_unsettled = false;
        self.n = number;
        Ok(if row.ids.is_empty() {
            Settled::Never
        } else {
            Settled::Committed(row)
        })
    }

    async fn send(&self, session: &Session, batch: &Batch) -> Result<Row, Failure> {
        let streams = &batch.streams;
        let number = self.n + 1;
        let lock = batch.changes().then_some(&batch.lock);
        let names = (batch.changes() && !batch.names.is_empty()).then_some(&batch.names);
        let data: Vec<Option<&[u8]>> = streams.data.iter().map(Option::as_deref).collect();
        // Most batches change no record, and the function does less then.
        let puts = streams.record.iter().any(Option::is_some);
        let (first, due) = (puts.then_some(&streams.first), puts.then_some(&streams.due));
        let (record, name) = (puts.then_some(&streams.record), puts.then_some(&streams.name));
        let key = streams.key.iter().any(Option::is_some).then_some(&streams.key);
        let remove = streams.remove.contains(&true).then_some(&streams.remove);
        let pieces: Vec<&[u8]> = batch.pieces.data.iter().map(Bytes::as_ref).collect();
        let pieces = (!pieces.is_empty()).then_some(pieces);
        let (expected, written) = (Columns::of(&batch.expected), Columns::of(&batch.written));
        let parameters = [
            (&self.id as _, Type::INT8),
            (&number as _, Type::INT8),
            (&lock as _, Type::INT8_ARRAY),
            (&names as _, Type::TEXT_ARRAY),
            (&streams.id as _, Type::INT8_ARRAY),
            (&streams.group as _, Type::INT4_ARRAY),
            (&streams.rev as _, Type::INT8_ARRAY),
            (&streams.at as _, Type::INT8_ARRAY),
            (&streams.most as _, Type::INT8_ARRAY),
            (&data as _, Type::BYTEA_ARRAY),
            (&streams.len as _, Type::INT8_ARRAY),
            (&streams.base as _, Type::INT8_ARRAY),
            (&remove as _, Type::BOOL_ARRAY),
            (&first as _, Type::INT8_ARRAY),
            (&due as _, Type::INT8_ARRAY),
            (&record as _, Type::BYTEA_ARRAY),
            (&key as _, Type::TEXT_ARRAY),
            (&name as _, Type::TEXT_ARRAY),
            (&batch.pieces.group as _, Type::INT4_ARRAY),
            (&batch.pieces.id as _, Type::INT8_ARRAY),
            (&batch.pieces.back as _, Type::INT8_ARRAY),
            (&pieces as _, Type::BYTEA_ARRAY),
            (&batch.absent_group as _, Type::INT4_ARRAY),
            (&batch.absent_key as _, Type::TEXT_ARRAY),
            (&expected.group as _, Type::INT4_ARRAY),
            (&expected.id as _, Type::INT8_ARRAY),
            (&expected.key as _, Type::BYTEA_ARRAY),
            (&expected.progress as _, Type::BYTEA_ARRAY),
            (&written.group as _, Type::INT4_ARRAY),
            (&written.id as _, Type::INT8_ARRAY),
            (&written.key as _, Type::BYTEA_ARRAY),
            (&written.progress as _, Type::BYTEA_ARRAY),
            (&written.used as _, Type::INT8_ARRAY),
        ];
        let mut rows = query(session, COMMIT, &parameters, ANSWER_TIMEOUT).await?;
        rows.pop()
            .ok_or_else(|| Failure::Lost("a commit without an answer".to_owned()))
    }
}

/// Runs a statement on the connection for commits.
async fn ask(
    connections: &Connections,
    session: &Session,
    sql: &str,
    parameters: &Parameters<'_>,
) -> Result<Vec<Row>, Failure> {
    connections.check_standby().await?;
    let answer = query(session, sql, parameters, ANSWER_TIMEOUT).await;
    if let Err(failure) = &answer
        && failure.spoils_connection()
    {
        if matches!(failure, Failure::Lost(_)) {
            connections.note_late_write();
        }
        connections.discard(&connections.commits, session).await;
    }
    answer
}

/// The columns of writers; `None`: there are none.
struct Columns<'b> {
    group: Option<&'b [i32]>,
    id: Option<&'b [i64]>,
    key: Option<&'b [Vec<u8>]>,
    progress: Option<&'b [Option<Vec<u8>>]>,
    used: Option<&'b [i64]>,
}

impl<'b> Columns<'b> {
    fn of(writers: &'b Writers) -> Self {
        let some = !writers.id.is_empty();
        Self {
            group: some.then_some(&writers.group),
            id: some.then_some(&writers.id),
            key: some.then_some(&writers.key),
            progress: some.then_some(&writers.progress),
            used: some.then_some(&writers.used),
        }
    }
}

fn not_sent(failure: Failure) -> CommitError {
    CommitError::Storage(failure.into())
}
