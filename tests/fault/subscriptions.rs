//! SIGKILL at any moment while events are appended and consumed: each event is processed at least
//! once by each subscription, a cursor is where an acknowledgement has put it, and a worker that was
//! fenced moves none.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    Server, Setup, amount,
    support::{
        http::{Answer, Request},
        rng::TestRng,
        server::BASE,
    },
};

const STREAMS: u64 = 4;
const APPENDERS: u64 = 2;
const WORKERS: u64 = 3;
/// Kills for each mode; `DS_TEST_SUBSCRIPTION_KILLS` overrides it.
const KILLS: u64 = 6;
/// How long the subscriptions may take to catch up after the last kill.
const CATCH_UP: Duration = Duration::from_secs(60);
const BEGINNING: &str = "0000000000000000_0000000000000000";

/// The webhook that answers `done`, the one that calls back, and the one that is claimed.
const SUBSCRIPTIONS: [&str; 3] = ["done", "callback", "pull"];

/// What the test knows of one subscription.
#[derive(Default)]
struct Consumer {
    processed: BTreeSet<u64>,
    /// The last offset of each stream that the server has confirmed.
    confirmed: BTreeMap<String, String>,
    /// The last offset that it may have taken, because no answer came.
    possible: BTreeMap<String, String>,
    generations: BTreeSet<u64>,
    fenced: u64,
}

/// What the threads share. The server changes with each kill.
struct World {
    server: Mutex<Option<SocketAddr>>,
    is_over: AtomicBool,
    next_event: AtomicU64,
    appended: Mutex<BTreeSet<u64>>,
    consumers: [Mutex<Consumer>; 3],
    failure: Mutex<Option<String>>,
}

impl World {
    fn send(&self, method: &str, path: &str, body: Option<Value>, token: Option<&str>) -> Option<Answer> {
        let to = (*self.server.lock().unwrap())?;
        let mut request = Request::new(to, method, &format!("{BASE}/{path}"));
        if let Some(token) = token {
            request = request.token(token);
        }
        if let Some(body) = body {
            request = request.json(&body.to_string());
        }
        request.try_send().ok()
    }

    /// Reads a stream and returns where the next read begins.
    fn process(&self, consumer: usize, stream: &str, from: &str) -> Option<String> {
        let answer = self.send("GET", &format!("{stream}?offset={from}"), None, None)?;
        if answer.status >= 500 {
            return None;
        }
        if answer.status != 200 {
            self.fail(format!("{stream} from {from}: {} {}", answer.status, answer.text()));
            return None;
        }
        let events: Vec<Value> = serde_json::from_slice(&answer.body).ok()?;
        let mut consumer = self.consumers[consumer].lock().unwrap();
        consumer
            .processed
            .extend(events.iter().map(|event| event["n"].as_u64().unwrap()));
        Some(answer.next_offset())
    }

    fn note(&self, consumer: usize, acks: &[(String, String)], is_confirmed: bool) {
        let mut consumer = self.consumers[consumer].lock().unwrap();
        for (stream, offset) in acks {
            raise(&mut consumer.possible, stream, offset);
            if is_confirmed {
                raise(&mut consumer.confirmed, stream, offset);
            }
        }
    }

    fn fail(&self, why: String) {
        self.failure.lock().unwrap().get_or_insert(why);
    }

    /// Sends an acknowledgement. Returns whether the worker may go on.
    fn acknowledge(
        &self,
        consumer: usize,
        operation: &str,
        wake: &Value,
        token: &str,
        acks: &[(String, String)],
        done: bool,
    ) -> bool {
        let list: Vec<Value> = acks
            .iter()
            .map(|(stream, offset)| json!({ "stream": stream, "offset": offset }))
            .collect();
        let body = json!({ "wake_id": wake["wake_id"], "generation": wake["generation"], "acks": list, "done": done });
        let path = format!("__ds/subscriptions/{}/{operation}", SUBSCRIPTIONS[consumer]);
        match self.send("POST", &path, Some(body), Some(token)) {
            None => {
                self.note(consumer, acks, false);
                false
            }
            Some(answer) if answer.status == 200 => {
                self.note(consumer, acks, true);
                true
            }
            Some(answer) if answer.status == 409 => {
                assert_eq!(answer.json()["error"]["code"], "FENCED", "{}", answer.text());
                self.consumers[consumer].lock().unwrap().fenced += 1;
                false
            }
            // The store is closing or not open yet: the change may have been made.
            Some(answer) if answer.status >= 500 => {
                self.note(consumer, acks, false);
                false
            }
            Some(answer) => {
                self.fail(format!("{path}: {} {}", answer.status, answer.text()));
                false
            }
        }
    }

    /// Each generation is given to one worker.
    fn note_generation(&self, consumer: usize, wake: &Value) {
        let generation = wake["generation"].as_u64().unwrap();
        if !self.consumers[consumer].lock().unwrap().generations.insert(generation) {
            self.fail(format!(
                "{}: generation {generation} was given twice",
                SUBSCRIPTIONS[consumer]
            ));
        }
    }
}

fn raise(offsets: &mut BTreeMap<String, String>, stream: &str, offset: &str) {
    let known = offsets.entry(stream.to_owned()).or_default();
    if known.as_str() < offset {
        *known = offset.to_owned();
    }
}

fn append(world: &World, seed: u64) {
    let mut rng = TestRng::new(seed);
    while !world.is_over.load(SeqCst) {
        let n = world.next_event.fetch_add(1, SeqCst);
        let stream = format!("events/{}", rng.below(STREAMS));
        match world.send("POST", &stream, Some(json!({ "n": n })), None) {
            Some(answer) if answer.status == 204 => _ = world.appended.lock().unwrap().insert(n),
            _ => sleep(Duration::from_millis(5)),
        }
        sleep(Duration::from_millis(rng.below(12)));
    }
}

/// Claims, reads and acknowledges, in a different way each time.
fn work(world: &World, seed: u64) {
    let mut rng = TestRng::new(seed);
    let consumer = 2;
    while !world.is_over.load(SeqCst) {
        let body = json!({ "worker": format!("worker {seed}") });
        let claim = world.send("POST", "__ds/subscriptions/pull/claim", Some(body), None);
        let Some(claim) = claim.filter(|claim| claim.status == 200) else {
            sleep(Duration::from_millis(5 + rng.below(20)));
            continue;
        };
        let wake = claim.json();
        world.note_generation(consumer, &wake);
        let token = wake["token"].as_str().unwrap();
        if rng.one_in(8) {
            let body = json!({ "wake_id": wake["wake_id"], "generation": wake["generation"] });
            world.send("POST", "__ds/subscriptions/pull/release", Some(body), Some(token));
            continue;
        }
        let acks = read_all(world, consumer, &wake);
        if rng.one_in(10) {
            // Past the lease, so that another worker has the work by now.
            sleep(Duration::from_millis(1100));
        }
        if rng.one_in(3) && !world.acknowledge(consumer, "ack", &wake, token, &acks, false) {
            continue;
        }
        world.acknowledge(consumer, "ack", &wake, token, &acks, true);
    }
}

/// Processes the streams of a wake. Returns where each was read to.
fn read_all(world: &World, consumer: usize, wake: &Value) -> Vec<(String, String)> {
    let streams = wake["streams"].as_array().unwrap();
    let read = |stream: &Value| {
        let path = stream["path"].as_str()?;
        let end = world.process(consumer, path, stream["acked_offset"].as_str()?)?;
        Some((path.to_owned(), end))
    };
    streams.iter().filter_map(read).collect()
}

/// A receiver of webhooks: fails at times, and otherwise finishes at once or by a callback.
fn receive(world: &Arc<World>, listener: TcpListener, consumer: usize, seed: u64) {
    let mut rng = TestRng::new(seed);
    listener.set_nonblocking(true).unwrap();
    while !world.is_over.load(SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        let (world, mut rng) = (Arc::clone(world), TestRng::new(rng.below(u64::MAX)));
        std::thread::spawn(move || answer(&world, stream, consumer, &mut rng));
    }
}

fn answer(world: &World, stream: TcpStream, consumer: usize, rng: &mut TestRng) {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut stream = BufReader::new(stream);
    let Some(wake) = read_request(&mut stream) else { return };
    world.note_generation(consumer, &wake);
    let mut respond = |status: u16, body: &str| {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.get_mut().write_all(format!("{head}{body}").as_bytes());
    };
    match rng.below(10) {
        0 => return respond(500, ""),
        // Neither answered nor worked on.
        1 => return,
        2 => sleep(Duration::from_millis(1100)),
        _ => {}
    }
    let token = wake["callback_token"].as_str().unwrap();
    let streams = wake["streams"].as_array().unwrap();
    let acks = read_all(world, consumer, &wake);
    if acks.len() < streams.len() {
        return respond(503, "");
    }
    if consumer == 0 {
        let tails: Vec<_> = streams
            .iter()
            .map(|stream| {
                (
                    stream["path"].as_str().unwrap().to_owned(),
                    stream["tail_offset"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        // Whether the server gets the response, and in time, only it knows.
        world.note(consumer, &tails, false);
        return respond(200, "{\"done\":true}");
    }
    respond(202, "");
    if rng.one_in(10) {
        sleep(Duration::from_millis(1100));
    }
    if rng.one_in(3) && !world.acknowledge(consumer, "callback", &wake, token, &acks, false) {
        return;
    }
    world.acknowledge(consumer, "callback", &wake, token, &acks, true);
}

fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Value> {
    let mut length = 0;
    stream.read_line(&mut String::new()).ok()?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    serde_json::from_slice(&body).ok()
}

fn subscribe(server: &Server, urls: &[String; 2]) {
    server.put("wake").json("[]").send().expect(201);
    for stream in 0..STREAMS {
        server.put(&format!("events/{stream}")).json("[]").send().expect(201);
    }
    let definitions = [
        json!({ "type": "webhook", "pattern": "events/*", "webhook": { "url": urls[0] }, "lease_ttl_ms": 1000 }),
        json!({ "type": "webhook", "pattern": "events/*", "webhook": { "url": urls[1] }, "lease_ttl_ms": 1000 }),
        json!({ "type": "pull-wake", "pattern": "events/*", "wake_stream": "wake", "lease_ttl_ms": 1000 }),
    ];
    for (id, definition) in SUBSCRIPTIONS.iter().zip(definitions) {
        let target = format!("__ds/subscriptions/{id}");
        server.put(&target).json(&definition.to_string()).send().expect(201);
    }
}

/// The cursors of a subscription, which lie between what was confirmed and what may have been taken.
fn check_cursors(server: &Server, world: &World) -> Vec<BTreeMap<String, String>> {
    let mut all = Vec::new();
    for (id, consumer) in SUBSCRIPTIONS.iter().zip(&world.consumers) {
        // Locked meanwhile, so that no worker acknowledges between the question and the check.
        let consumer = consumer.lock().unwrap();
        let shown = server
            .get(&format!("__ds/subscriptions/{id}"))
            .send()
            .expect(200)
            .json();
        let mut cursors = BTreeMap::new();
        for stream in shown["streams"].as_array().unwrap() {
            let (path, acked) = (
                stream["path"].as_str().unwrap(),
                stream["acked_offset"].as_str().unwrap(),
            );
            let least = consumer.confirmed.get(path).map_or("", String::as_str);
            assert!(acked >= least, "{id} {path}: {acked} was confirmed to be {least}");
            cursors.insert(path.to_owned(), acked.to_owned());
        }
        all.push(cursors);
    }
    all
}

/// With nobody at work, no cursor is ahead of what its workers have sent.
fn check_nothing_ahead(cursors: &[BTreeMap<String, String>], world: &World, start: &BTreeMap<String, String>) {
    for ((id, consumer), cursors) in SUBSCRIPTIONS.iter().zip(&world.consumers).zip(cursors) {
        let consumer = consumer.lock().unwrap();
        for (path, acked) in cursors {
            let most = consumer
                .possible
                .get(path)
                .or(start.get(path))
                .map_or(BEGINNING, String::as_str);
            assert!(acked.as_str() <= most, "{id} {path}: {acked} is ahead of {most}");
        }
    }
}

fn consumes_everything(mode: &str) {
    let seed = super::seed();
    eprintln!("{mode}: DS_TEST_SEED={seed}");
    let setup = Setup::new().on_disk(mode).with("webhooks.allow_local_http", true);
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let urls = [0, 1].map(|n: usize| format!("http://{}/", listeners[n].local_addr().unwrap()));
    let server = setup.start();
    subscribe(&server, &urls);
    let start: BTreeMap<_, _> = (0..STREAMS)
        .map(|stream| format!("events/{stream}"))
        .map(|stream| (stream.clone(), server.head(&stream).send().next_offset()))
        .collect();
    let world = Arc::new(World {
        server: Mutex::new(Some(server.public)),
        is_over: AtomicBool::new(false),
        next_event: AtomicU64::new(0),
        appended: Mutex::default(),
        consumers: Default::default(),
        failure: Mutex::default(),
    });
    let (mut rng, mut running) = (TestRng::new(seed), Some(server));
    std::thread::scope(|scope| {
        for number in 0..APPENDERS {
            let world = &world;
            scope.spawn(move || append(world, seed ^ number));
        }
        for number in 0..WORKERS {
            let world = &world;
            scope.spawn(move || work(world, seed ^ (100 + number)));
        }
        for (consumer, listener) in listeners.into_iter().enumerate() {
            let world = &world;
            scope.spawn(move || receive(world, listener, consumer, seed ^ (200 + consumer as u64)));
        }
        for _ in 0..amount("DS_TEST_SUBSCRIPTION_KILLS", KILLS) {
            sleep(Duration::from_millis(rng.below(600)));
            *world.server.lock().unwrap() = None;
            running.take().unwrap().kill();
            let server = setup.start();
            check_cursors(&server, &world);
            *world.server.lock().unwrap() = Some(server.public);
            running = Some(server);
        }
        let deadline = Instant::now() + CATCH_UP;
        let target = world.next_event.load(SeqCst);
        let missing = || {
            let appended = world.appended.lock().unwrap();
            let expected: BTreeSet<u64> = appended.range(..target).copied().collect();
            let left = |consumer: &Mutex<Consumer>| expected.difference(&consumer.lock().unwrap().processed).count();
            world.consumers.iter().map(left).collect::<Vec<_>>()
        };
        while missing().iter().any(|left| *left > 0) && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
        let missing = missing();
        world.is_over.store(true, SeqCst);
        assert_eq!(missing, [0, 0, 0], "events that {SUBSCRIPTIONS:?} have not processed");
    });
    // The last responses have been handled when the server has stopped.
    *world.server.lock().unwrap() = None;
    sleep(Duration::from_millis(1200));
    running.unwrap().stop();
    let server = setup.start();
    let cursors = check_cursors(&server, &world);
    check_nothing_ahead(&cursors, &world, &start);
    let failure = world.failure.lock().unwrap().take();
    assert_eq!(failure, None);
    let [done, callback, pull] = &world.consumers;
    let count = |consumer: &Mutex<Consumer>| {
        let consumer = consumer.lock().unwrap();
        (consumer.processed.len(), consumer.generations.len(), consumer.fenced)
    };
    eprintln!(
        "{mode}: {} events appended; (processed, wakes, fenced): done {:?}, callback {:?}, pull {:?}",
        world.appended.lock().unwrap().len(),
        count(done),
        count(callback),
        count(pull)
    );
    assert!(count(pull).1 > 0 && count(done).1 > 0 && count(callback).1 > 0);
}

#[test]
fn acid_subscriptions_lose_no_event() {
    consumes_everything("acid");
}

#[test]
fn file_durable_subscriptions_lose_no_event() {
    consumes_everything("file-durable");
}

#[test]
fn file_fast_subscriptions_lose_no_event() {
    consumes_everything("file-fast");
}
