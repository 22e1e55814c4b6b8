//! Random requests through three servers, with others in the middle of them, with news that are late,
//! repeated, overtaken or lost, with commits of unknown outcome, and with a store that is away or
//! loses what it has acknowledged. A seed replays its run.

use std::fmt::Write;

use super::{
    checker::{Answer, Asked, Request, Truth},
    *,
};
use crate::{protocol::Offset, random::Random};

const SERVERS: usize = 3;
const STREAMS: usize = 3;
const STEPS: usize = 400;

/// What the servers have in common.
struct World {
    random: Random,
    shared: Arc<Shared>,
    servers: Vec<Server>,
    requests: Mutex<Vec<Request>>,
    messages: AtomicUsize,
    faults: bool,
}

/// A live reader, and what it must have seen.
struct Reader {
    follower: Follower,
    stream: StreamName,
    id: StreamId,
    at: Position,
    seen: String,
    start: Position,
    over: Option<&'static str>,
}

impl World {
    fn pick(&self, count: usize) -> usize {
        usize::try_from(self.random.between(0, count as u64 - 1)).unwrap()
    }

    fn chance(&self, percent: u64) -> bool {
        self.random.between(1, 100) <= percent
    }

    fn stream(&self) -> StreamName {
        name(&format!("s{}", self.pick(STREAMS)))
    }

    fn draw(&self, stream: &StreamName) -> (Asked, AppendRequest) {
        let number = self.messages.fetch_add(1, SeqCst);
        let text = format!("m{number};");
        let (asked, request) = match self.random.between(0, 19) {
            0..=2 => (Asked::Create, AppendRequest::default()),
            3 => (Asked::Delete, AppendRequest::default()),
            4..=7 => (Asked::Read, AppendRequest::default()),
            8..=9 => (Asked::Metadata, AppendRequest::default()),
            kind => {
                let seq = (10..=13).contains(&kind).then(|| self.random.between(0, 4));
                let text = match seq {
                    // A producer repeats what it sends.
                    Some(seq) => format!("p{seq};"),
                    None if kind == 14 => String::new(),
                    None => text,
                };
                let latest = (kind >= 18).then(|| Truth::of(&self.shared.log()).latest(stream));
                let expected = latest.flatten().map(|state| Offset {
                    incarnation: state.id,
                    position: state.tail,
                });
                let request = AppendRequest {
                    close: kind == 14 || kind == 15,
                    expected_tail: expected,
                    ..match seq {
                        Some(seq) => AppendRequest {
                            body: Bytes::from(text.clone()),
                            ..produced(seq)
                        },
                        None => appending(&text),
                    }
                };
                (Asked::Append { text, seq, expected }, request)
            }
        };
        (asked, request)
    }

    /// Makes a request, and notes the answer.
    async fn request(&self, server: usize, stream: StreamName, asked: Asked, request: AppendRequest) {
        let begun = self.shared.batches();
        let answer = answer(&self.servers[server].engine, &stream, &asked, request).await;
        let ended = self.shared.batches();
        self.requests.lock().push(Request {
            server,
            stream,
            begun,
            ended,
            asked,
            answer,
        });
    }

    /// Has other servers do something in the middle of a request to `server`.
    fn interfere(self: &Arc<Self>, server: usize, stream: &StreamName, is_read: bool) {
        let connection = &self.servers[server].connection;
        for (hook, may_be_own) in [
            (&connection.before_commit, false),
            (&connection.after_commit, false),
            (&connection.after_refresh, is_read),
        ] {
            if !self.chance(30) {
                continue;
            }
            // A server that commits cannot make another change at the same time.
            let others = usize::from(!may_be_own);
            let other = (server + others + self.pick(SERVERS - others)) % SERVERS;
            let (world, stream) = (Arc::clone(self), stream.clone());
            let delivers = self.chance(50);
            *hook.lock() = Some(Box::new(move || {
                let (asked, request) = world.draw(&stream);
                at_once(world.request(other, stream, asked, request));
                if delivers {
                    world.deliver(server);
                }
            }));
        }
    }

    /// Has one of the news arrive at a server.
    fn deliver(&self, server: usize) {
        let connection = &self.servers[server].connection;
        let held = connection.news_held();
        if held > 0 {
            connection.deliver(self.pick(held), self.chance(20));
        }
        if self.chance(70) {
            let sharing = Arc::clone(self.servers[server].engine.shared.sharing.as_ref().unwrap());
            // A store that is away is tried again by the task.
            let _ = at_once(sharing.deliver_now());
        }
    }

    fn calm(&self) {
        for server in &self.servers {
            let connection = &server.connection;
            for hook in [
                &connection.before_commit,
                &connection.after_commit,
                &connection.after_refresh,
            ] {
                *hook.lock() = None;
            }
            *connection.unknown.lock() = None;
            connection.forced_moves.store(0, SeqCst);
        }
    }

    fn check(&self) {
        let truth = Truth::of(&self.shared.log());
        for request in self.requests.lock().drain(..) {
            request.check(&truth);
        }
    }
}

async fn answer(engine: &Engine, stream: &StreamName, asked: &Asked, request: AppendRequest) -> Answer {
    let unavailable = |error: Unavailable| match error {
        Unavailable::Away(_) | Unavailable::Raced => Answer::Refused,
        Unavailable::Unknown(_) => Answer::Unknown,
        error => panic!("{error}"),
    };
    match asked {
        Asked::Create => match engine.create(stream, plain()).await {
            Ok(created) => Answer::Created {
                new: created.new,
                tail: created.tail,
            },
            Err(CreateError::Exists(_)) => Answer::Differs,
            Err(CreateError::Unavailable(error)) => unavailable(error),
            Err(error) => panic!("{error}"),
        },
        Asked::Delete => match engine.delete(stream).await {
            Ok(()) => Answer::Deleted,
            Err(DeleteError::NotFound) => Answer::None,
            Err(DeleteError::Unavailable(error)) => unavailable(error),
            Err(error) => panic!("{error}"),
        },
        Asked::Append { .. } => match engine.append(stream, request).await {
            Ok(Appended { tail, duplicate, .. }) => Answer::Appended { tail, duplicate },
            Err(AppendError::NotFound) => Answer::None,
            Err(AppendError::Closed { tail }) => Answer::Closed { tail },
            Err(AppendError::SeqGap { expected, .. }) => Answer::Gap { expected },
            Err(AppendError::UnexpectedTail { tail }) => Answer::UnexpectedTail { tail },
            Err(AppendError::Unavailable(error)) => unavailable(error),
            Err(error) => panic!("{error}"),
        },
        Asked::Read => match read(engine, stream).await {
            Ok(answer) => answer,
            Err(ReadError::NotFound) => Answer::None,
            Err(ReadError::Unavailable(error)) => unavailable(error),
            Err(error) => panic!("{error}"),
        },
        Asked::Metadata => match engine.metadata(stream).await {
            Ok(Metadata { tail, closed, .. }) => Answer::Content {
                tail,
                closed,
                content: None,
            },
            Err(ReadError::NotFound) => Answer::None,
            Err(ReadError::Unavailable(error)) => unavailable(error),
            Err(error) => panic!("{error}"),
        },
    }
}

async fn read(engine: &Engine, stream: &StreamName) -> Result<Answer, ReadError> {
    let mut read = engine.read(stream, ReadFrom::Beginning).await?;
    let mut content = String::new();
    while let Some(chunk) = read.pieces.next().await? {
        content += std::str::from_utf8(&chunk.body()).unwrap();
    }
    Ok(Answer::Content {
        tail: read.end,
        closed: read.closed,
        content: Some(content),
    })
}

impl Reader {
    async fn new(world: &World, server: usize, stream: StreamName) -> Option<Self> {
        let from = if world.chance(50) {
            ReadFrom::Beginning
        } else {
            ReadFrom::Now
        };
        let follower = world.servers[server].engine.follow(&stream, from).await.ok()?;
        let position = follower.position();
        Some(Self {
            follower,
            stream,
            id: position.incarnation,
            at: position.position,
            seen: String::new(),
            start: position.position,
            over: None,
        })
    }

    /// Takes what there is. `lost`: the tail went back below the reader.
    fn take(&mut self, lost: bool) {
        while self.over.is_none() {
            let next = tokio::task::coop::unconstrained(self.follower.next());
            let Poll::Ready(next) = pin!(next).poll(&mut Context::from_waker(Waker::noop())) else {
                return;
            };
            match next {
                Ok(Event::Chunk { chunk, .. }) => {
                    assert_eq!(
                        (chunk.start.incarnation, chunk.start.position),
                        (self.id, self.at),
                        "a gap or a repeat"
                    );
                    self.at = chunk.end.position;
                    self.seen += std::str::from_utf8(&chunk.body()).unwrap();
                }
                Ok(Event::Closed) => self.over = Some("closed"),
                Ok(Event::Gone { .. }) => self.over = Some("gone"),
                Err(ReadError::OtherLife { .. }) if lost => self.over = Some("lost"),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Whether the reader has seen what it should, now that all news have arrived.
    fn check(&self, truth: &Truth) {
        let latest = truth.latest(&self.stream).filter(|state| state.id == self.id);
        let what = format!(
            "{} {}: {} at {} {:?}",
            self.stream, self.id, self.seen, self.at, self.over
        );
        if self.over == Some("lost") {
            return;
        }
        assert_eq!(self.seen, truth.content(self.id, self.start, self.at), "{what}");
        match (self.over, latest) {
            (None, Some(state)) => assert!(state.tail == self.at && !state.closed, "{what} of {state:?}"),
            (Some("closed"), Some(state)) => assert!(state.tail == self.at && state.closed, "{what} of {state:?}"),
            (Some("closed" | "gone"), None) => {}
            (over, state) => panic!("{what}: {over:?} of {state:?}"),
        }
    }
}

/// Lets everything arrive, and checks every reader.
async fn settle(world: &World, readers: &mut Vec<Reader>) {
    world.calm();
    for server in &world.servers {
        if server.connection.away.load(SeqCst) {
            server.connection.come_back();
        }
        while server.connection.news_held() > 0 {
            server.connection.deliver(0, false);
        }
    }
    // The task waits for up to two seconds after a failure.
    tokio::time::sleep(Duration::from_secs(5)).await;
    run_tasks().await;
    let truth = Truth::of(&world.shared.log());
    for reader in readers.iter_mut() {
        reader.take(false);
        reader.check(&truth);
    }
    readers.retain(|reader| reader.over.is_none());
}

/// Has the store lose its last batches, and every server and reader notice.
async fn lose(world: &World, readers: &mut Vec<Reader>) {
    settle(world, readers).await;
    world.check();
    let batches = world.shared.batches();
    world.shared.lose_all_after(batches.saturating_sub(world.pick(10)));
    if world.chance(50) {
        world.shared.announce_history();
    } else {
        // They notice by themselves.
        for server in &world.servers {
            let _ = server.engine.metadata(&name("s0")).await;
        }
    }
    run_tasks().await;
    let truth = Truth::of(&world.shared.log());
    for reader in readers.iter_mut() {
        let kept = truth.latest(&reader.stream).filter(|state| state.id == reader.id);
        reader.take(kept.is_some_and(|kept| kept.tail < reader.at));
        reader.check(&truth);
    }
    readers.retain(|reader| reader.over.is_none());
}

async fn run(seed: u64, faults: bool) -> String {
    let shared = Shared::new();
    shared.echoes.store(seed.is_multiple_of(3), SeqCst);
    let servers: Vec<Server> = (0..SERVERS).map(|_| Server::new(&shared, unlimited())).collect();
    servers.iter().for_each(|server| server.connection.hold_news());
    let world = Arc::new(World {
        random: Random::seeded(seed),
        shared,
        servers,
        requests: Mutex::default(),
        messages: AtomicUsize::new(0),
        faults,
    });
    let (mut readers, mut trace) = (Vec::new(), String::new());
    for _ in 0..STEPS {
        let (server, stream) = (world.pick(SERVERS), world.stream());
        let connection = &world.servers[server].connection;
        match world.random.between(0, 99) {
            0..=59 => {
                let (asked, request) = world.draw(&stream);
                let is_read = matches!(asked, Asked::Read | Asked::Metadata);
                world.interfere(server, &stream, is_read);
                world.request(server, stream, asked, request).await;
                world.calm();
            }
            60..=74 => world.deliver(server),
            75..=76 => connection.lose_news(),
            77..=82 if readers.len() < 12 => readers.extend(Reader::new(&world, server, stream).await),
            83..=89 if !readers.is_empty() => {
                let reader = world.pick(readers.len());
                readers[reader].take(false);
            }
            90 if !readers.is_empty() => drop(readers.swap_remove(world.pick(readers.len()))),
            91..=93 if world.faults => {
                *connection.unknown.lock() = Some(world.chance(50));
                let (asked, request) = world.draw(&stream);
                world.request(server, stream, asked, request).await;
                world.calm();
            }
            94 if world.faults => connection.away.store(true, SeqCst),
            95..=96 if world.faults && connection.away.load(SeqCst) => connection.come_back(),
            97 if world.faults => connection.forced_moves.store(world.pick(12), SeqCst),
            98 if world.faults && world.chance(20) => lose(&world, &mut readers).await,
            99 => settle(&world, &mut readers).await,
            _ => run_tasks().await,
        }
    }
    settle(&world, &mut readers).await;
    for request in world.requests.lock().iter() {
        writeln!(trace, "{request:?}").unwrap();
    }
    world.check();
    trace
}

#[tokio::test(start_paused = true)]
async fn what_servers_answer_one_server_could_have_answered() {
    for seed in 1..=25 {
        println!("seed {seed}");
        run(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn that_holds_when_the_store_fails() {
    for seed in 101..=125 {
        println!("seed {seed}");
        run(seed, true).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_seed_replays_its_run() {
    assert_eq!(run(7, true).await, run(7, true).await);
}
