//! Several engines on one store: they answer as one, whatever another server has changed meanwhile.
//!
//! The store does not block, so a request is judged, committed and answered within one poll, and
//! each test decides what happens between the judgement and the commit, or between a fresh read and
//! its answer.

mod away;
mod checker;
mod history;
mod lifetimes;
mod model;
mod news;
mod reads;
mod simulation;
mod watching;
mod writes;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    shared_store::{Connection, Shared, hold},
    *,
};

struct Server {
    connection: Arc<Connection>,
    engine: Engine,
}

impl Server {
    fn new(shared: &Arc<Shared>, config: EngineConfig) -> Self {
        let connection = shared.connect(false);
        Self {
            engine: serve(&connection, config),
            connection,
        }
    }

    /// Has `other` happen between the next fresh read and its answer.
    fn after_refresh<F: Future<Output = ()> + Send + 'static>(&self, other: F) {
        *self.connection.after_refresh.lock() = Some(Box::new(move || at_once(other)));
    }

    /// Has `other` happen after the next request is judged and before it is committed.
    fn between<F: Future<Output = ()> + Send + 'static>(&self, other: F) {
        *self.connection.before_commit.lock() = Some(Box::new(move || at_once(other)));
    }

    /// How many groups had to be judged again.
    fn moves(&self) -> usize {
        let commits = self.connection.commits.lock();
        commits.iter().flatten().filter(|committed| !**committed).count()
    }
}

fn serve(connection: &Arc<Connection>, config: EngineConfig) -> Engine {
    let storage = Arc::clone(connection) as Arc<dyn Storage>;
    Engine::start(storage, config, Arc::new(Metrics::new().unwrap()), Clock::manual(7)).unwrap()
}

fn at_once<T>(future: impl Future<Output = T>) -> T {
    // Tokio would have the test's task yield once in a while.
    let future = tokio::task::coop::unconstrained(future);
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a request to a store that does not block was not answered at once"),
    }
}

fn servers() -> (Arc<Shared>, Server, Server) {
    let shared = Shared::new();
    let (a, b) = (Server::new(&shared, unlimited()), Server::new(&shared, unlimited()));
    (shared, a, b)
}

/// The stored content, read through a new server.
async fn stored(shared: &Arc<Shared>, stream: &StreamName) -> Result<String, ReadError> {
    content(&Server::new(shared, unlimited()).engine, stream).await
}

fn closing(text: &str) -> AppendRequest {
    AppendRequest {
        close: true,
        ..appending(text)
    }
}

fn appending(text: &str) -> AppendRequest {
    AppendRequest {
        content_type: Some(ContentType::parse("text/plain").unwrap()),
        body: Bytes::copy_from_slice(text.as_bytes()),
        ..AppendRequest::default()
    }
}

fn produced(seq: u64) -> AppendRequest {
    AppendRequest {
        producer: Some(ProducerStamp {
            id: "p".into(),
            epoch: 0,
            seq,
        }),
        ..appending(&seq.to_string())
    }
}

/// Lets the tasks of all engines do what they can.
async fn run_tasks() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// What a follower gets until it has to wait.
async fn seen(follower: &mut Follower) -> String {
    let mut seen = String::new();
    loop {
        run_tasks().await;
        let next = tokio::task::coop::unconstrained(follower.next());
        match pin!(next).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return seen,
            Poll::Ready(Ok(Event::Chunk { chunk, .. })) => seen += std::str::from_utf8(&chunk.body()).unwrap(),
            Poll::Ready(other) => return format!("{seen}{other:?}"),
        }
    }
}

async fn followers(server: &Server, stream: &StreamName, count: usize) -> Vec<Follower> {
    let mut followers = Vec::new();
    for _ in 0..count {
        followers.push(server.engine.follow(stream, ReadFrom::Now).await.unwrap());
    }
    followers
}
