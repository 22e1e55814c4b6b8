//! The handover socket of a holder: requests that reached its predecessors, and their reads.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tower::ServiceExt as _;

use crate::{
    handover::{Answer, Client, Opening, SOCKET},
    http::{self as app, App},
    listener::{ListenerKind, PeerAddr, TlsInfo},
    protocol::StreamName,
    proxy::Origin,
    storage::{Storage, StorageError},
    unix_socket,
};

/// The timeout of reading the first line, and of writing an answer.
const IO_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after a failed accept, which is mostly for want of descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);

/// The open handover socket.
pub(crate) struct Takeover {
    dir: PathBuf,
    tasks: TaskTracker,
    /// Ends the accepting of connections, at the latest with this value.
    _closing: DropGuard,
    is_removed: bool,
}

struct Context {
    app: App,
    store: Arc<dyn Storage>,
    tasks: TaskTracker,
    slots: Arc<Semaphore>,
}

impl Takeover {
    /// Listens in a directory that this process holds, for at most `max_connections` at a time, and
    /// reads for predecessors from this store.
    ///
    /// # Errors
    /// If the socket cannot be created.
    pub(crate) fn open(dir: &Path, app: App, store: Arc<dyn Storage>, max_connections: usize) -> io::Result<Self> {
        let listener = UnixListener::from_std(unix_socket::bind(dir, SOCKET)?)?;
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let context = Arc::new(Context {
            app,
            store,
            tasks: tasks.clone(),
            slots: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
        });
        tokio::spawn(closing.clone().run_until_cancelled_owned(accept(listener, context)));
        Ok(Self {
            dir: dir.to_owned(),
            tasks,
            _closing: closing.drop_guard(),
            is_removed: false,
        })
    }

    /// Removes the socket: the next holder of the directory has its own. Who has connected is still
    /// answered.
    pub(crate) fn remove(&mut self) {
        if std::mem::replace(&mut self.is_removed, true) {
            return;
        }
        if let Err(error) = unix_socket::remove(&self.dir, SOCKET) {
            tracing::warn!(%error, "the handover socket could not be removed");
        }
    }

    /// Whether somebody is connected.
    pub(crate) fn is_in_use(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Waits for those who have connected, for as long as `max_wait`.
    pub(crate) async fn ended(mut self, max_wait: Duration) {
        self.remove();
        self.tasks.close();
        let _ = timeout(max_wait, self.tasks.wait()).await;
    }
}

async fn accept(listener: UnixListener, context: Arc<Context>) {
    loop {
        let Ok(slot) = Arc::clone(&context.slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&context);
                context.tasks.spawn(async move {
                    if let Err(error) = shared.serve(stream).await {
                        tracing::debug!(%error, "a connection to the handover socket failed");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the handover socket cannot accept connections; retrying");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

impl Context {
    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        match timeout(IO_TIMEOUT, unix_socket::receive(&mut stream)).await?? {
            Opening::Request(client) => self.answer(client, stream).await,
            Opening::Read { id, start, end } => {
                let read = self.ask(move |store| store.read(id, start..end)).await;
                let (answer, bytes) = match read {
                    Ok(bytes) => (Answer::Bytes(bytes.len() as u64), bytes),
                    Err(reason) => (Answer::Failed(reason), Default::default()),
                };
                send(&mut stream, &answer, &bytes).await
            }
            Opening::Current { name, id, from } => {
                let current = self.ask(move |store| is_current(store, &name, id, from)).await;
                let answer = current.map_or_else(Answer::Failed, Answer::Current);
                send(&mut stream, &answer, &[]).await
            }
        }
    }

    /// Reads the store on a blocking thread.
    async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Storage) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, String> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || read(&*store)).await;
        done.map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }

    /// Serves the request that follows, as if it had come from its client.
    async fn answer(&self, client: Client, stream: BufReader<UnixStream>) -> io::Result<()> {
        let origin = Origin::told(client.https, client.host.as_deref(), client.address);
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            let extensions = request.extensions_mut();
            extensions.insert(origin.clone());
            extensions.insert(match client.internal {
                true => ListenerKind::Internal,
                false => ListenerKind::Public,
            });
            if let Some(peer) = client.peer {
                extensions.insert(PeerAddr(peer));
            }
            if let Some(tls) = client.tls {
                extensions.insert(TlsInfo {
                    client_cert: tls.client_cert,
                    http2: tls.http2,
                });
            }
            app::service(self.app.clone()).oneshot(request)
        });
        let served = http1::Builder::new()
            .keep_alive(false)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service)
            .await;
        served.map_err(io::Error::other)
    }
}

fn is_current(store: &dyn Storage, name: &str, id: u64, from: u64) -> Result<bool, StorageError> {
    let Ok(name) = StreamName::new(name) else {
        return Ok(false);
    };
    Ok(store.get(&name)?.is_some_and(|stored| stored.has(id, from)))
}

async fn send(stream: &mut BufReader<UnixStream>, answer: &Answer, bytes: &[u8]) -> io::Result<()> {
    let head = unix_socket::line(answer)?;
    timeout(IO_TIMEOUT, async {
        stream.write_all(&head).await?;
        stream.write_all(bytes).await?;
        stream.flush().await
    })
    .await?
}
