//! Several engines on one store: no outcome rests on what another server has changed meanwhile.
//!
//! The store does not block, so a request is judged, committed and answered within one poll, and
//! each test says exactly what happens between the judgement and the commit.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::{
    shared_store::{Connection, Shared},
    *,
};
use crate::random::Random;

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
    Engine::start(
        storage,
        config,
        Arc::new(Metrics::new().unwrap()),
        Clock::manual(1_000_000),
    )
    .unwrap()
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

#[tokio::test]
async fn an_append_does_not_follow_another_servers_close() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "1").await.unwrap();
    // Closed before B judges, of which its memory knows nothing.
    let closed = a.engine.append(&stream, closing("2")).await.unwrap();
    let refused = append(&b.engine, &stream, "3").await;
    assert!(
        matches!(refused, Err(AppendError::Closed { tail }) if tail == closed.tail),
        "{refused:?}"
    );

    // Closed after B has judged.
    let stream = name("t");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "1").await.unwrap();
    let (other, closed) = (a.engine.clone(), stream.clone());
    b.between(async move {
        other.append(&closed, closing("")).await.unwrap();
    });
    let refused = append(&b.engine, &stream, "2").await;
    assert!(matches!(refused, Err(AppendError::Closed { .. })), "{refused:?}");
    assert_eq!(stored(&shared, &stream).await.unwrap(), "1");
}

#[tokio::test]
async fn appends_of_two_servers_land_in_order_without_being_judged_again() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut expected = String::new();
    for n in 0..20u64 {
        let server = if n % 3 == 0 { &a } else { &b };
        let appended = append(&server.engine, &stream, "x").await.unwrap();
        // Each append has a header of one byte.
        assert_eq!(appended.tail.position, 2 * (n + 1));
        expected.push('x');
    }
    // One that lands between the judgement of another and its commit.
    let (other, between) = (b.engine.clone(), stream.clone());
    a.between(async move {
        append(&other, &between, "first").await.unwrap();
    });
    let appended = append(&a.engine, &stream, "second").await.unwrap();
    assert_eq!(appended.tail.position, 40 + 6 + 7);
    assert_eq!(stored(&shared, &stream).await.unwrap(), expected + "firstsecond");
    assert_eq!((a.moves(), b.moves()), (0, 0));
}

#[tokio::test]
async fn a_follower_sees_what_another_server_appended_in_between() {
    let (_, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let mut follower = a.engine.follow(&stream, ReadFrom::Now).await.unwrap();
    append(&b.engine, &stream, "b").await.unwrap();
    append(&a.engine, &stream, "a").await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let Ok(Event::Chunk { chunk, .. }) = follower.next().await else {
            panic!("nothing")
        };
        seen.extend_from_slice(&chunk.body());
    }
    assert_eq!(seen, b"ba");
}

#[tokio::test]
async fn of_two_creates_one_creates() {
    let (shared, a, b) = servers();
    let stream = name("s");
    let (other, between) = (b.engine.clone(), stream.clone());
    a.between(async move { assert!(other.create(&between, plain()).await.unwrap().new) });
    assert!(!a.engine.create(&stream, plain()).await.unwrap().new);
    assert_eq!(shared.inner.usage().streams, 1);

    let stream = name("t");
    let (other, between) = (b.engine.clone(), stream.clone());
    a.between(async move { assert!(other.create(&between, plain()).await.unwrap().new) });
    let json = CreateRequest {
        content_type: Some(ContentType::parse("application/json").unwrap()),
        ..plain()
    };
    let refused = a.engine.create(&stream, json).await;
    assert!(
        matches!(refused, Err(CreateError::Exists("content type"))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_producer_may_change_servers() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    let send = async |server: &Server, seq| server.engine.append(&stream, produced(seq)).await;
    assert!(!send(&a, 0).await.unwrap().duplicate);
    assert!(send(&b, 0).await.unwrap().duplicate);
    assert!(!send(&b, 1).await.unwrap().duplicate);
    assert!(!send(&b, 2).await.unwrap().duplicate);
    // A has last seen the producer at 0, and would accept 1 and refuse 3.
    assert!(send(&a, 1).await.unwrap().duplicate);
    assert!(!send(&a, 3).await.unwrap().duplicate);
    let gap = send(&b, 5).await;
    assert!(matches!(gap, Err(AppendError::SeqGap { expected: 4, .. })), "{gap:?}");
    // The same request through both servers at once.
    let (other, between) = (b.engine.clone(), stream.clone());
    a.between(async move { assert!(!other.append(&between, produced(4)).await.unwrap().duplicate) });
    assert!(send(&a, 4).await.unwrap().duplicate);
    assert_eq!(stored(&shared, &stream).await.unwrap(), "01234");
}

#[tokio::test]
async fn a_stream_in_memory_is_not_taken_for_its_successor() {
    let (shared, a, b) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "old").await.unwrap();
    a.engine.delete(&stream).await.unwrap();
    let gone = append(&b.engine, &stream, "x").await;
    assert!(matches!(gone, Err(AppendError::NotFound)), "{gone:?}");
    assert!(b.engine.create(&stream, plain()).await.unwrap().new);
    append(&a.engine, &stream, "1").await.unwrap();
    a.engine.delete(&stream).await.unwrap();
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "new").await.unwrap();
    assert_eq!(stored(&shared, &stream).await.unwrap(), "new");
}

#[tokio::test]
async fn a_source_is_kept_for_a_fork_that_another_server_made() {
    let (shared, a, b) = servers();
    let (source, fork) = (name("source"), name("fork"));
    a.engine.create(&source, plain()).await.unwrap();
    append(&b.engine, &source, "inherited").await.unwrap();
    let (other, from, to) = (a.engine.clone(), source.clone(), fork.clone());
    b.between(async move {
        append(&other, &from, "!").await.unwrap();
        other.create(&to, fork_of(&from)).await.unwrap();
    });
    b.engine.delete(&source).await.unwrap();
    assert_eq!(stored(&shared, &fork).await.unwrap(), "inherited!");
    assert!(matches!(stored(&shared, &source).await, Err(ReadError::Gone)));
    // The last fork takes its source along, wherever it is deleted.
    b.engine.delete(&fork).await.unwrap();
    assert_eq!(shared.inner.usage().streams, 0);
}

#[tokio::test]
async fn a_fork_does_not_outlive_a_delete_of_its_source() {
    let (shared, a, b) = servers();
    let (source, fork) = (name("source"), name("fork"));
    a.engine.create(&source, plain()).await.unwrap();
    let (other, doomed) = (b.engine.clone(), source.clone());
    a.between(async move { other.delete(&doomed).await.unwrap() });
    let refused = a.engine.create(&fork, fork_of(&source)).await;
    assert!(
        matches!(refused, Err(CreateError::Fork(ForkError::SourceNotFound))),
        "{refused:?}"
    );
    assert_eq!(shared.inner.usage().streams, 0);
}

#[tokio::test]
async fn appends_do_not_float_past_the_size_limit() {
    let shared = Shared::new();
    let mut config = unlimited();
    config.limits.max_stream_bytes = 10;
    config.limits.max_producers_per_stream = 0;
    let (a, b) = (Server::new(&shared, config.clone()), Server::new(&shared, config));
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    append(&b.engine, &stream, "12345").await.unwrap();
    let refused = append(&a.engine, &stream, "1234567").await;
    assert!(matches!(refused, Err(AppendError::TooLarge(10))), "{refused:?}");
    append(&a.engine, &stream, "6789").await.unwrap();
    assert_eq!(stored(&shared, &stream).await.unwrap(), "123456789");
}

#[tokio::test]
async fn a_command_whose_streams_keep_moving_is_refused() {
    let (shared, a, _) = servers();
    let stream = name("s");
    a.engine.create(&stream, plain()).await.unwrap();
    a.connection.forced_moves.store(8, SeqCst);
    append(&a.engine, &stream, "1").await.unwrap();
    assert_eq!(a.moves(), 8);
    a.connection.forced_moves.store(9, SeqCst);
    let refused = append(&a.engine, &stream, "2").await;
    assert!(
        matches!(refused, Err(AppendError::Unavailable(Unavailable::Raced))),
        "{refused:?}"
    );
    append(&a.engine, &stream, "3").await.unwrap();
    assert_eq!(stored(&shared, &stream).await.unwrap(), "13");
}

#[tokio::test]
async fn a_group_that_moved_does_not_hold_the_others_up() {
    let shared = Shared::new();
    let a = Server::new(&shared, unlimited());
    let connection = shared.connect(true);
    let engine = serve(&connection, unlimited());
    let streams = [name("x"), name("y"), name("z")];
    for stream in &streams {
        a.engine.create(stream, plain()).await.unwrap();
        append(&engine, stream, "0").await.unwrap();
    }
    // The first append is on its way to the store while the two others are queued.
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (arrived, on_its_way) = tokio::sync::oneshot::channel();
    *connection.before_commit.lock() = Some(Box::new(move || {
        let _ = arrived.send(());
        let _ = wait.recv();
    }));
    let [x, y, z] = &streams;
    let others = async {
        on_its_way.await.unwrap();
        a.engine.append(y, closing("")).await.unwrap();
        connection.commits.lock().clear();
        let release = async { go.send(()).unwrap() };
        let (y, z, ()) = tokio::join!(append(&engine, y, "1"), append(&engine, z, "1"), release);
        (y, z)
    };
    let (x, (y, z)) = tokio::join!(append(&engine, x, "1"), others);
    assert!(x.is_ok() && z.is_ok(), "{x:?} {z:?}");
    assert!(matches!(y, Err(AppendError::Closed { .. })), "{y:?}");
    let commits = connection.commits.lock().clone();
    // The append to `y` is judged again by itself, and its refusal holds.
    assert_eq!(commits, [vec![true], vec![false, true], vec![true]]);
}

/// The state that a stream must have.
#[derive(Debug, Default, Clone, PartialEq)]
struct Model {
    content: String,
    closed: bool,
    next_seq: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create,
    Delete,
    Append,
    Produce { seq: u64 },
    Close,
}

fn draw(random: &Random) -> Step {
    match random.between(0, 15) {
        0..=2 => Step::Create,
        3 => Step::Delete,
        4 => Step::Close,
        5..=9 => Step::Produce {
            seq: random.between(0, 4),
        },
        _ => Step::Append,
    }
}

/// Does a step through a server. The answer, in words.
async fn answer(engine: &Engine, stream: &StreamName, step: Step) -> String {
    let appended = match step {
        Step::Create => {
            return match engine.create(stream, plain()).await {
                Ok(created) => format!("new {}", created.new),
                Err(CreateError::Exists(what)) => what.to_owned(),
                Err(error) => panic!("{error}"),
            };
        }
        Step::Delete => return format!("deleted {}", engine.delete(stream).await.is_ok()),
        Step::Append => append(engine, stream, "a").await,
        Step::Produce { seq } => engine.append(stream, produced(seq)).await,
        Step::Close => engine.append(stream, closing("")).await,
    };
    match appended {
        Ok(appended) => format!("{} {}", appended.tail.position, appended.duplicate),
        Err(AppendError::NotFound) => "none".into(),
        Err(AppendError::Closed { tail }) => format!("closed at {}", tail.position),
        Err(AppendError::SeqGap { expected, .. }) => format!("gap {expected}"),
        Err(error) => panic!("{error}"),
    }
}

/// The answer that follows from the model.
fn expected(model: &mut Option<Model>, step: Step) -> String {
    match step {
        Step::Create if model.as_ref().is_some_and(|model| model.closed) => return "closed state".into(),
        Step::Create => {
            let new = model.is_none();
            model.get_or_insert_default();
            return format!("new {new}");
        }
        Step::Delete => return format!("deleted {}", model.take().is_some()),
        Step::Append | Step::Produce { .. } | Step::Close => {}
    }
    let Some(model) = model else { return "none".into() };
    let tail = |model: &Model| 2 * model.content.len();
    match step {
        Step::Close => {
            let again = std::mem::replace(&mut model.closed, true);
            return format!("{} {again}", tail(model));
        }
        _ if model.closed => return format!("closed at {}", tail(model)),
        Step::Produce { seq } if seq < model.next_seq => return format!("{} true", tail(model)),
        Step::Produce { seq } if seq > model.next_seq => return format!("gap {}", model.next_seq),
        Step::Produce { seq } => {
            model.next_seq += 1;
            model.content.push_str(&seq.to_string());
        }
        _ => model.content.push('a'),
    }
    format!("{} false", tail(model))
}

#[tokio::test]
async fn servers_answer_as_one() {
    for seed in 1..=40 {
        let random = Random::seeded(seed);
        let shared = Shared::new();
        let servers: Vec<Server> = (0..3).map(|_| Server::new(&shared, unlimited())).collect();
        let streams = [name("s"), name("t")];
        let mut models = [None, None];
        let pick = |count: usize| usize::try_from(random.between(0, count as u64 - 1)).unwrap();
        for step in 0..200 {
            let (server, which) = (pick(servers.len()), pick(streams.len()));
            let (now, stream) = (draw(&random), &streams[which]);
            // Another server's step between the judgement and the commit takes effect first.
            let between = Arc::new(Mutex::new(None));
            let (other, interferes) = (pick(servers.len()), random.between(0, 2) == 0);
            let then = draw(&random);
            if interferes && other != server {
                let (engine, stream, given) = (servers[other].engine.clone(), stream.clone(), Arc::clone(&between));
                servers[server].between(async move {
                    let given_answer = answer(&engine, &stream, then).await;
                    *given.lock() = Some(given_answer);
                });
            }
            let given = answer(&servers[server].engine, stream, now).await;
            *servers[server].connection.before_commit.lock() = None;
            let model = &mut models[which];
            if let Some(given) = between.lock().take() {
                assert_eq!(
                    given,
                    expected(model, then),
                    "seed {seed} step {step}: {then:?} in between"
                );
            }
            assert_eq!(given, expected(model, now), "seed {seed} step {step}: {now:?}");
        }
        for (stream, model) in streams.iter().zip(models) {
            let found = stored(&shared, stream).await.ok();
            assert_eq!(found, model.map(|model| model.content), "seed {seed}");
        }
    }
}
