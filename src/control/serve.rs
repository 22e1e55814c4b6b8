//! The server's side.

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Answer, MAX_LINE, Request, socket};
use crate::storage::{Storage, StorageError, tools::Report};

/// Conversations at once. More wait to be accepted.
const MAX_CONVERSATIONS: usize = 8;

/// How long the other side may take to send its line, or to take one.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a copy says how far it is.
const PROGRESS: Duration = Duration::from_secs(1);

/// How long to rest when a conversation cannot be accepted, for want of descriptors mostly.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// How long a stop waits for a copy to end. A disk that hangs must not keep the server.
const END: Duration = Duration::from_secs(10);

/// The open socket.
pub(crate) struct Control {
    dir: PathBuf,
    task: JoinHandle<()>,
}

/// Answers on the socket of a data directory, which this process holds, until `stop`. To be
/// called within a tokio runtime.
///
/// # Errors
/// When there can be no socket.
pub(crate) fn serve(dir: &Path, storage: Arc<dyn Storage>, stop: CancellationToken) -> io::Result<Control> {
    let listener = UnixListener::from_std(socket::bind(dir)?)?;
    let desk = Arc::new(Desk {
        storage,
        turn: Semaphore::new(1),
        stop,
    });
    Ok(Control {
        dir: dir.to_owned(),
        task: tokio::spawn(desk.answer_all(listener)),
    })
}

impl Control {
    /// Waits until what was under way at the stop has ended, and takes the socket away.
    pub(crate) async fn ended(self) {
        if timeout(END, self.task).await.is_err() {
            tracing::warn!("a backup does not end; it stays incomplete");
        }
        if let Err(error) = socket::remove(&self.dir) {
            tracing::warn!(%error, "the control socket could not be removed");
        }
    }
}

struct Desk {
    storage: Arc<dyn Storage>,
    /// One copy at a time.
    turn: Semaphore,
    stop: CancellationToken,
}

impl Desk {
    async fn answer_all(self: Arc<Self>, listener: UnixListener) {
        let mut conversations = JoinSet::new();
        loop {
            let room = conversations.len() < MAX_CONVERSATIONS;
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(_) = conversations.join_next() => {}
                accepted = listener.accept(), if room => match accepted {
                    Ok((stream, _)) => drop(conversations.spawn(Arc::clone(&self).converse(stream))),
                    Err(error) => {
                        tracing::warn!(%error, "the control socket takes nobody");
                        sleep(ACCEPT_RETRY).await;
                    }
                },
            }
        }
        drop(listener);
        while conversations.join_next().await.is_some() {}
    }

    async fn converse(self: Arc<Self>, mut stream: UnixStream) {
        let request = tokio::select! {
            request = read(&mut stream) => request,
            () = self.stop.cancelled() => Err("the server is stopping".to_owned()),
        };
        let answer = match request {
            Ok(Request::Backup { to }) => self.backup(to, &mut stream).await,
            Err(why) => Answer::Error(why),
        };
        // Who has gone does not want to know.
        let _ = send(&mut stream, &answer).await;
    }

    async fn backup(&self, to: PathBuf, stream: &mut UnixStream) -> Answer {
        if !to.is_absolute() {
            return Answer::Error(format!("{} is not an absolute path", to.display()));
        }
        let Ok(_turn) = self.turn.try_acquire() else {
            return Answer::Error("another backup is being made: wait for its end".to_owned());
        };
        tracing::info!(to = %to.display(), "a backup begins");
        match self.copy(to.clone(), stream).await {
            Ok(Report { streams, bytes, .. }) => {
                tracing::info!(to = %to.display(), streams, bytes, "the backup is complete");
                Answer::Done { streams, bytes }
            }
            Err(error) => {
                let why = if self.stop.is_cancelled() {
                    "the server is stopping: the backup was given up".to_owned()
                } else {
                    error.to_string()
                };
                tracing::warn!(to = %to.display(), error = why, "the backup failed");
                Answer::Error(why)
            }
        }
    }

    /// Copies on a thread of its own, and says meanwhile how far it is. Ends the copy when
    /// nobody listens any longer, and when the server stops.
    async fn copy(&self, to: PathBuf, stream: &mut UnixStream) -> Result<Report, StorageError> {
        let unwanted = self.stop.child_token();
        let (far, heard) = watch::channel((0, 0));
        let (storage, ended) = (Arc::clone(&self.storage), unwanted.clone());
        let mut copying = tokio::task::spawn_blocking(move || {
            storage.backup(&to, &mut |report| {
                far.send_replace((report.streams, report.bytes));
                if ended.is_cancelled() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        });
        let (mut their_side, mut our_side) = stream.split();
        let mut more = [0; 1];
        let mut tick = interval(PROGRESS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut copying => return done.unwrap_or_else(|error| Err(failed(error))),
                // Nothing more is to come, but the end.
                _ = their_side.read(&mut more), if !unwanted.is_cancelled() => unwanted.cancel(),
                _ = tick.tick(), if !unwanted.is_cancelled() => {
                    let (streams, bytes) = *heard.borrow();
                    if send(&mut our_side, &Answer::Progress { streams, bytes }).await.is_err() {
                        unwanted.cancel();
                    }
                }
            }
        }
    }
}

fn failed(error: tokio::task::JoinError) -> StorageError {
    StorageError::Io {
        context: "copying".to_owned(),
        source: io::Error::other(error),
    }
}

/// The request, or what is wrong with it.
async fn read(stream: &mut UnixStream) -> Result<Request, String> {
    let mut line = Vec::new();
    let mut limited = BufReader::new(stream).take(MAX_LINE);
    match timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await {
        Err(_) => return Err(format!("no request came within {} seconds", PATIENCE.as_secs())),
        Ok(Err(error)) => return Err(format!("the request could not be read: {error}")),
        Ok(Ok(_)) if line.last() == Some(&b'\n') => {}
        Ok(Ok(_)) if line.len() as u64 == MAX_LINE => {
            return Err(format!("the request is longer than {MAX_LINE} bytes"));
        }
        Ok(Ok(_)) => return Err("the request ended before its line did".to_owned()),
    }
    serde_json::from_slice(&line).map_err(|error| format!("the request is not known here: {error}"))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    timeout(PATIENCE, stream.write_all(&line)).await?
}
