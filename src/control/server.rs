//! The server side of the control socket.

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
    sync::{Semaphore, mpsc, watch},
    task::{JoinError, JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    SOCKET,
    messages::{Answer, Request},
};
use crate::{
    handover,
    storage::{Storage, StorageError, StoreReport},
    unix_socket::{self, MAX_LINE_BYTES},
};

/// Connections at a time. More wait in the backlog.
const MAX_CONNECTIONS: usize = 8;

/// The timeout of reading the request and of writing an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(5);

const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The pause after a failed accept, which is mostly for want of descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The longest that shutdown waits for a cancelled backup. A disk that hangs must not block it.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// The open control socket.
pub(crate) struct Control {
    dir: PathBuf,
    task: JoinHandle<()>,
    closing: CancellationToken,
    released: CancellationToken,
    is_removed: bool,
}

/// The servers that wait for the directory.
pub(crate) struct Successors {
    asked: mpsc::Receiver<()>,
    registered: watch::Receiver<usize>,
}

impl Successors {
    /// Waits until one of them needs the directory.
    pub(crate) async fn ask(&mut self) {
        if self.asked.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn are_waiting(&self) -> bool {
        *self.registered.borrow() > 0
    }
}

/// Serves the control socket of a data directory, which this process holds, until `shutdown`. Call
/// within a tokio runtime.
///
/// # Errors
/// If the socket cannot be created.
pub(crate) fn serve(
    dir: &Path,
    storage: Arc<dyn Storage>,
    shutdown: &CancellationToken,
) -> io::Result<(Control, Successors)> {
    let listener = UnixListener::from_std(unix_socket::bind(dir, SOCKET)?)?;
    let (closing, released) = (shutdown.child_token(), CancellationToken::new());
    let (ask, asked) = mpsc::channel(1);
    let (registered_tx, registered) = watch::channel(0);
    let server = Arc::new(ControlServer {
        storage,
        backup_slot: Semaphore::new(1),
        shutdown: closing.clone(),
        ask,
        registered: registered_tx,
        released: released.clone(),
    });
    let control = Control {
        dir: dir.to_owned(),
        task: tokio::spawn(server.serve(listener)),
        closing,
        released,
        is_removed: false,
    };
    Ok((control, Successors { asked, registered }))
}

impl Control {
    /// Ends backups and removes the socket: the next holder of the directory has its own.
    pub(crate) fn close(&mut self) {
        self.closing.cancel();
        self.remove();
        self.is_removed = true;
    }

    /// Tells those who wait for the directory that it is free.
    pub(crate) fn released(&self) {
        self.released.cancel();
    }

    fn remove(&self) {
        if let Err(error) = unix_socket::remove(&self.dir, SOCKET) {
            tracing::warn!(%error, "the control socket could not be removed");
        }
    }

    /// Waits for open connections after a shutdown and removes the socket.
    pub(crate) async fn ended(mut self) {
        if timeout(SHUTDOWN_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("a backup did not end in time and is left incomplete");
        }
        if !self.is_removed {
            self.remove();
        }
    }
}

struct ControlServer {
    storage: Arc<dyn Storage>,
    /// Permits one backup at a time.
    backup_slot: Semaphore,
    shutdown: CancellationToken,
    /// Has the directory handed over.
    ask: mpsc::Sender<()>,
    registered: watch::Sender<usize>,
    released: CancellationToken,
}

/// A backup failed.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("the backup ended unexpectedly: {0}")]
    Task(#[from] JoinError),
}

impl ControlServer {
    async fn serve(self: Arc<Self>, listener: UnixListener) {
        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < MAX_CONNECTIONS;
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if has_room => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(Arc::clone(&self).handle_connection(stream))),
                    Err(error) => {
                        tracing::warn!(%error, "control socket accept failed");
                        sleep(ACCEPT_BACKOFF).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    async fn handle_connection(self: Arc<Self>, mut stream: UnixStream) {
        let request = tokio::select! {
            request = read_request(&mut stream) => request,
            () = self.shutdown.cancelled() => Err("the server is stopping".to_owned()),
        };
        let answer = match request {
            Ok(Request::Backup { to }) => self.backup(to, &mut stream).await,
            Ok(Request::Successor { version }) => match self.wait_to_release(version, &mut stream).await {
                Some(answer) => answer,
                None => return,
            },
            Err(reason) => Answer::Error(reason),
        };
        // The client may have disconnected; ignore.
        let _ = send(&mut stream, &answer).await;
    }

    /// Waits until the directory is free. `None` if the successor goes away.
    async fn wait_to_release(&self, version: u32, stream: &mut UnixStream) -> Option<Answer> {
        if version != handover::VERSION {
            let reason = format!(
                "this server hands over by version {}, not {version}: wait until it has stopped",
                handover::VERSION
            );
            return Some(Answer::Error(reason));
        }
        send(stream, &Answer::Registered).await.ok()?;
        let _registered = Registered::new(&self.registered);
        let mut asked = [0; 1];
        loop {
            tokio::select! {
                biased;
                () = self.released.cancelled() => return Some(Answer::Released),
                read = stream.read(&mut asked) => match read {
                    Ok(1..) => drop(self.ask.try_send(())),
                    Ok(0) | Err(_) => return None,
                },
            }
        }
    }

    async fn backup(&self, to: PathBuf, stream: &mut UnixStream) -> Answer {
        if !to.is_absolute() {
            return Answer::Error(format!("{} is not an absolute path", to.display()));
        }
        let Ok(_slot) = self.backup_slot.try_acquire() else {
            return Answer::Error("another backup is being made: wait until it is complete".to_owned());
        };
        tracing::info!(to = %to.display(), "backup started");
        match self.copy(to.clone(), stream).await {
            Ok(StoreReport { streams, bytes, .. }) => {
                tracing::info!(to = %to.display(), streams, bytes, "backup completed");
                Answer::Done { streams, bytes }
            }
            Err(error) => {
                let reason = match self.shutdown.is_cancelled() {
                    true => "the server is stopping: the backup was cancelled".to_owned(),
                    false => error.to_string(),
                };
                tracing::warn!(to = %to.display(), error = reason, "backup failed");
                Answer::Error(reason)
            }
        }
    }

    /// Copies the store on a blocking thread and sends progress meanwhile. Cancels the copy if the
    /// client disconnects or the server shuts down.
    async fn copy(&self, to: PathBuf, stream: &mut UnixStream) -> Result<StoreReport, BackupError> {
        let cancel = self.shutdown.child_token();
        let (progress_tx, progress_rx) = watch::channel((0, 0));
        let (storage, cancelled) = (Arc::clone(&self.storage), cancel.clone());
        let mut copying = tokio::task::spawn_blocking(move || {
            storage.backup(&to, &mut |report| {
                progress_tx.send_replace((report.streams, report.bytes));
                match cancelled.is_cancelled() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })
        });
        let (mut reader, mut writer) = stream.split();
        let mut unexpected = [0; 1];
        let mut tick = interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut copying => return Ok(done??),
                // The client sends nothing after its request, so this is the end of the connection.
                _ = reader.read(&mut unexpected), if !cancel.is_cancelled() => cancel.cancel(),
                _ = tick.tick(), if !cancel.is_cancelled() => {
                    let (streams, bytes) = *progress_rx.borrow();
                    if send(&mut writer, &Answer::Progress { streams, bytes }).await.is_err() {
                        cancel.cancel();
                    }
                }
            }
        }
    }
}

/// Counts a successor while it is connected.
struct Registered<'a>(&'a watch::Sender<usize>);

impl<'a> Registered<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Reads the request; the error is the answer to the client.
async fn read_request(stream: &mut UnixStream) -> Result<Request, String> {
    let mut line = Vec::new();
    let mut limited = BufReader::new(stream).take(MAX_LINE_BYTES);
    match timeout(IO_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
        Err(_) => return Err(format!("no request came within {} seconds", IO_TIMEOUT.as_secs())),
        Ok(Err(error)) => return Err(format!("the request could not be read: {error}")),
        Ok(Ok(_)) if line.last() == Some(&b'\n') => {}
        Ok(Ok(_)) if line.len() as u64 == MAX_LINE_BYTES => {
            return Err(format!("the request is longer than {MAX_LINE_BYTES} bytes"));
        }
        Ok(Ok(_)) => return Err("the request is not terminated by a newline".to_owned()),
    }
    serde_json::from_slice(&line).map_err(|error| format!("unknown request: {error}"))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), answer: &Answer) -> io::Result<()> {
    let line = unix_socket::line(answer)?;
    timeout(IO_TIMEOUT, stream.write_all(&line)).await?
}
