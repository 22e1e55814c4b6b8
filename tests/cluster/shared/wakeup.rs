//! An append at one server wakes the readers of the others, soon and always.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        amount,
        fleet::Fleet,
        support::{
            http::{Connection, Request},
            live::{Event, Sse},
            server::BASE,
            until,
        },
    },
    pooler::PoolMode,
    scene::Scene,
};

const SERVERS: usize = 3;

/// Appends of each test; `DS_TEST_WAKE_UPS` overrides it.
const APPENDS: u64 = 600;

/// An event that comes later was not brought by a notification or a poll. `DS_TEST_MAX_LAG_MILLIS`
/// sets what an idle machine keeps.
fn limit() -> Duration {
    Duration::from_millis(amount("DS_TEST_MAX_LAG_MILLIS", 10_000))
}

/// One stream: a writer at one server, a reader at another.
struct Line {
    name: String,
    writer: usize,
    reader: usize,
    /// When each append was sent,
    sent: Mutex<Vec<Instant>>,
    /// and when it was acknowledged.
    acknowledged: Mutex<Vec<Instant>>,
    done: AtomicBool,
}

/// Delays of events, sorted.
struct Lags(Vec<Duration>);

impl Lags {
    fn quantile(&self, thousandths: usize) -> Duration {
        let last = self.0.len() - 1;
        self.0[last * thousandths / 1000]
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} events, p50 {:?}, p99 {:?}, latest {:?}",
            self.0.len(),
            self.quantile(500),
            self.quantile(990),
            self.quantile(1000)
        );
    }
}

/// The lags of all events.
struct Measured {
    /// After the append was sent. Commits may take long, such as during a checkpoint of the database.
    since_sent: Lags,
    /// After it was acknowledged.
    since_acknowledged: Lags,
}

impl Measured {
    fn of(mut events: Vec<(Duration, Duration)>) -> Self {
        let mut sorted = |lag: fn(&(Duration, Duration)) -> Duration| {
            events.sort_unstable_by_key(lag);
            Lags(events.iter().map(lag).collect())
        };
        Self {
            since_sent: sorted(|event| event.0),
            since_acknowledged: sorted(|event| event.1),
        }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        self.since_sent.print(what);
        self.since_acknowledged
            .print(&format!("{what}, after the acknowledgement"));
        let latest = self.since_acknowledged.quantile(1000);
        assert!(latest < limit(), "a wake-up was lost: {latest:?}");
    }
}

impl Line {
    fn all() -> Vec<Self> {
        let pairs = (0..SERVERS).flat_map(|writer| (0..SERVERS).map(move |reader| (writer, reader)));
        pairs
            .filter(|(writer, reader)| writer != reader)
            .map(|(writer, reader)| Self {
                name: format!("from/{writer}/to/{reader}"),
                writer,
                reader,
                sent: Mutex::default(),
                acknowledged: Mutex::default(),
                done: AtomicBool::new(false),
            })
            .collect()
    }

    /// Appends one number after the other.
    fn write(&self, fleet: &Fleet, appends: usize, pause: Duration) {
        let to = fleet.address(self.writer).unwrap();
        let path = format!("{BASE}/{}", self.name);
        let mut connection = Connection::open(to);
        for number in 0..appends {
            let append = Request::new(to, "POST", &path).json(&number.to_string());
            self.sent.lock().unwrap().push(Instant::now());
            append.send_on(&mut connection).unwrap().expect(204);
            self.acknowledged.lock().unwrap().push(Instant::now());
            thread::sleep(pause);
        }
        self.done.store(true, Ordering::Release);
    }

    /// Reads all numbers; returns the lags of each.
    fn read(&self, fleet: &Fleet, appends: usize) -> Vec<(Duration, Duration)> {
        let mut reader = open(fleet, self.reader, &self.name, "-1");
        let mut lags = Vec::with_capacity(appends);
        let mut from = "-1".to_owned();
        while lags.len() < appends {
            match reader.try_next() {
                Ok(Some(Event::Data(data))) => {
                    let now = Instant::now();
                    let numbers = numbers(&data);
                    for number in numbers {
                        assert_eq!(number, lags.len(), "{}: an event is missing or repeated", self.name);
                        let sent = self.sent.lock().unwrap()[number];
                        let acknowledged = self.acknowledged.lock().unwrap().get(number).copied();
                        let since = now.saturating_duration_since(acknowledged.unwrap_or(now));
                        lags.push((now.duration_since(sent), since));
                    }
                }
                Ok(Some(Event::Control(control))) => {
                    control["streamNextOffset"].as_str().unwrap().clone_into(&mut from);
                }
                Ok(Some(_)) => {}
                // SSE reads end each minute.
                Ok(None) => reader = open(fleet, self.reader, &self.name, &from),
                Err(error) => panic!(
                    "{}: {error} after {} of {appends} events (written: {}, all: {})",
                    self.name,
                    lags.len(),
                    self.sent.lock().unwrap().len(),
                    self.done.load(Ordering::Acquire)
                ),
            }
        }
        lags
    }
}

fn open(fleet: &Fleet, place: usize, name: &str, offset: &str) -> Sse {
    let to = fleet.address(place).unwrap();
    let target = format!("{BASE}/{name}?live=sse&offset={offset}");
    Sse::open(&Request::new(to, "GET", &target))
}

fn create(fleet: &Fleet, place: usize, name: &str) {
    let create = Request::new(fleet.address(place).unwrap(), "PUT", &format!("{BASE}/{name}"));
    create.header("content-type", "application/json").send().expect(201);
}

/// Each server writes to streams that the others' readers follow.
fn measure(scene: &Scene, pause: Duration) -> Measured {
    let fleet = scene.fleet();
    let lines = Line::all();
    let appends = usize::try_from(amount("DS_TEST_WAKE_UPS", APPENDS)).unwrap() / lines.len();
    lines.iter().for_each(|line| create(&fleet, line.writer, &line.name));
    let events = thread::scope(|scope| {
        let readers: Vec<_> = lines
            .iter()
            .map(|line| scope.spawn(|| line.read(&fleet, appends)))
            .collect();
        let hears = match scene.pooler {
            None => "notifications of other servers arrive",
            Some(_) => "notifications do not arrive",
        };
        for place in 0..SERVERS {
            fleet.with(place, |server| server.log.wait_for(hears));
        }
        until("all readers to be there", || {
            let readers = |place| fleet.with(place, |server| server.metric("ds_live_readers{mode=\"sse\"}"));
            (0..SERVERS).filter_map(readers).sum::<f64>() == lines.len() as f64
        });
        for line in &lines {
            let fleet = &fleet;
            scope.spawn(move || line.write(fleet, appends, pause));
        }
        // The first append of each line finds servers that have not done anything yet.
        readers
            .into_iter()
            .flat_map(|reader| reader.join().unwrap().into_iter().skip(1))
            .collect()
    });
    fleet.stop_all();
    Measured::of(events)
}

#[test]
fn an_append_at_one_server_wakes_readers_of_the_others() {
    let measured = measure(&Scene::new(SERVERS, &[], None), Duration::from_millis(3));
    measured.check("by notification");
    // A poll each second would give a median of half a second.
    let median = measured.since_sent.quantile(500);
    assert!(median < Duration::from_millis(500), "{median:?}");
}

#[test]
fn readers_are_woken_by_polls_where_a_pooler_swallows_notifications() {
    let scene = Scene::new(SERVERS, &[], Some(PoolMode::Transaction));
    measure(&scene, Duration::from_millis(3)).check("by polls");
}

/// The writer's server dies after the commit and before the others were notified.
#[test]
fn readers_are_woken_after_a_kill_between_commit_and_notification() {
    let scene = Scene::new(2, &[], None);
    let fleet = scene.fleet();
    for round in 0..amount("DS_TEST_WAKE_UP_KILLS", 3) {
        let name = format!("round/{round}");
        create(&fleet, 0, &name);
        let mut reader = open(&fleet, 1, &name, "-1");
        // Both servers know the stream, and notifications work.
        let to = fleet.address(0).unwrap();
        let append = |text: &str| Request::new(to, "POST", &format!("{BASE}/{name}")).json(text);
        append("1").send().expect(204);
        assert_eq!(numbers(&reader.data()), [1]);
        let notified = scene.relays[0].trap("pg_notify");
        let sent = Instant::now();
        append("2").send().expect(204);
        notified.recv_timeout(Duration::from_secs(10)).expect("a notification");
        fleet.kill(0);
        assert_eq!(numbers(&reader.data()), [2]);
        let lag = sent.elapsed();
        println!("round {round}: {lag:?}");
        assert!(lag < limit(), "{lag:?}");
        scene.relays[0].cut();
        fleet.fill(0);
    }
}

fn numbers(data: &str) -> Vec<usize> {
    serde_json::from_str(data).unwrap()
}
