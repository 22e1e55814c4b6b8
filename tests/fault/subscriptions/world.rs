//! What the threads share, and what is known of each subscription.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use serde_json::{Value, json};

use super::super::support::{
    http::{Answer, Request},
    server::BASE,
};

/// The webhook that answers `done`, the one that calls back, and the one that is claimed.
pub const SUBSCRIPTIONS: [&str; 3] = ["done", "callback", "pull"];

/// What is known of one subscription.
#[derive(Default)]
pub struct Consumer {
    processed: BTreeSet<u64>,
    /// The last offset of each stream that a server has confirmed.
    pub confirmed: BTreeMap<String, String>,
    /// The last offset that it may have taken, because no answer came.
    pub possible: BTreeMap<String, String>,
    generations: BTreeSet<u64>,
    fenced: u64,
}

/// What the threads share. The servers change with each kill.
pub struct World {
    servers: Mutex<Vec<Option<SocketAddr>>>,
    requests: AtomicUsize,
    pub is_over: AtomicBool,
    pub next_event: AtomicU64,
    appended: Mutex<BTreeSet<u64>>,
    consumers: [Mutex<Consumer>; 3],
    failure: Mutex<Option<String>>,
}

/// What a worker says of a wake.
pub struct Work<'w> {
    pub consumer: usize,
    pub wake: &'w Value,
    pub token: &'w str,
    /// Streams, and how far each was processed.
    pub acks: &'w [(String, String)],
}

impl World {
    pub fn new(servers: impl Iterator<Item = SocketAddr>) -> Self {
        Self {
            servers: Mutex::new(servers.map(Some).collect()),
            requests: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            next_event: AtomicU64::new(0),
            appended: Mutex::default(),
            consumers: Default::default(),
            failure: Mutex::default(),
        }
    }

    pub fn set_server(&self, place: usize, address: Option<SocketAddr>) {
        self.servers.lock().unwrap()[place] = address;
    }

    pub fn forget_servers(&self) {
        self.servers.lock().unwrap().fill(None);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }

    pub fn consumer(&self, consumer: usize) -> MutexGuard<'_, Consumer> {
        self.consumers[consumer].lock().unwrap()
    }

    pub fn appended(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.appended.lock().unwrap()
    }

    pub fn fail(&self, why: String) {
        self.failure.lock().unwrap().get_or_insert(why);
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap().clone()
    }

    /// What each subscription has processed, its wakes, and its fenced requests.
    pub fn counts(&self) -> [(usize, usize, u64); 3] {
        [0, 1, 2].map(|consumer| {
            let consumer = self.consumer(consumer);
            (consumer.processed.len(), consumer.generations.len(), consumer.fenced)
        })
    }

    /// How many of the first `events` each subscription has not processed.
    pub fn missing(&self, events: u64) -> [usize; 3] {
        let appended = self.appended();
        let expected: BTreeSet<u64> = appended.range(..events).copied().collect();
        [0, 1, 2].map(|consumer| expected.difference(&self.consumer(consumer).processed).count())
    }

    /// Sends a request to one server after the other.
    pub fn send(&self, method: &str, path: &str, body: Option<Value>, token: Option<&str>) -> Option<Answer> {
        let to = {
            let servers = self.servers.lock().unwrap();
            servers[self.requests.fetch_add(1, SeqCst) % servers.len()]?
        };
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
    pub fn process(&self, consumer: usize, stream: &str, from: &str) -> Option<String> {
        let answer = self.send("GET", &format!("{stream}?offset={from}"), None, None)?;
        if answer.status >= 500 {
            return None;
        }
        if answer.status != 200 {
            self.fail(format!("{stream} from {from}: {} {}", answer.status, answer.text()));
            return None;
        }
        let events: Vec<Value> = serde_json::from_slice(&answer.body).ok()?;
        let numbers = events.iter().map(|event| event["n"].as_u64().unwrap());
        self.consumer(consumer).processed.extend(numbers);
        Some(answer.next_offset())
    }

    /// Notes offsets that a server has confirmed, or may have taken.
    pub fn note(&self, consumer: usize, acks: &[(String, String)], is_confirmed: bool) {
        let mut consumer = self.consumer(consumer);
        for (stream, offset) in acks {
            raise(&mut consumer.possible, stream, offset);
            if is_confirmed {
                raise(&mut consumer.confirmed, stream, offset);
            }
        }
    }

    /// Each generation is given to one worker.
    pub fn note_generation(&self, consumer: usize, wake: &Value) {
        let generation = wake["generation"].as_u64().unwrap();
        if !self.consumer(consumer).generations.insert(generation) {
            let id = SUBSCRIPTIONS[consumer];
            self.fail(format!("{id}: generation {generation} was given twice"));
        }
    }

    /// Sends an acknowledgement. Returns whether the worker may go on.
    pub fn acknowledge(&self, operation: &str, work: &Work<'_>, done: bool) -> bool {
        let &Work {
            consumer,
            wake,
            token,
            acks,
        } = work;
        let list: Vec<Value> = acks
            .iter()
            .map(|(stream, offset)| json!({ "stream": stream, "offset": offset }))
            .collect();
        let body = json!({ "wake_id": wake["wake_id"], "generation": wake["generation"], "acks": list, "done": done });
        let path = format!("__ds/subscriptions/{}/{operation}", SUBSCRIPTIONS[consumer]);
        let latest = self.consumer(consumer).generations.last().copied();
        match self.send("POST", &path, Some(body), Some(token)) {
            None => {
                self.note(consumer, acks, false);
                false
            }
            Some(answer) if answer.status == 200 => {
                self.note(consumer, acks, true);
                if latest > wake["generation"].as_u64() {
                    self.fail(format!(
                        "{path}: {wake} was accepted after generation {latest:?} was given"
                    ));
                }
                true
            }
            Some(answer) if answer.status == 409 => {
                assert_eq!(answer.json()["error"]["code"], "FENCED", "{}", answer.text());
                self.consumer(consumer).fenced += 1;
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

    /// Processes the streams of a wake. Returns where each was read to.
    pub fn read_all(&self, consumer: usize, wake: &Value) -> Vec<(String, String)> {
        let streams = wake["streams"].as_array().unwrap();
        let read = |stream: &Value| {
            let path = stream["path"].as_str()?;
            let end = self.process(consumer, path, stream["acked_offset"].as_str()?)?;
            Some((path.to_owned(), end))
        };
        streams.iter().filter_map(read).collect()
    }
}

fn raise(offsets: &mut BTreeMap<String, String>, stream: &str, offset: &str) {
    let known = offsets.entry(stream.to_owned()).or_default();
    if known.as_str() < offset {
        *known = offset.to_owned();
    }
}
