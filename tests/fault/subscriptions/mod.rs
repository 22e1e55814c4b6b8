//! SIGKILL at any moment while events are appended and consumed: each event is processed at least
//! once by each subscription, a cursor is where an acknowledgement has put it, one worker has a
//! subscription at a time, and one that was fenced moves no cursor.

mod checks;
mod receivers;
mod workers;
mod world;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{Arc, atomic::Ordering::SeqCst},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    Server, Setup, amount,
    support::{rng::TestRng, shared::postgres::Postgres},
};
use world::{SUBSCRIPTIONS, World};

const STREAMS: u64 = 4;
const APPENDERS: u64 = 2;
/// Workers that race for one subscription; `DS_TEST_SUBSCRIPTION_WORKERS` overrides it.
const WORKERS: u64 = 3;
/// Kills for each mode; `DS_TEST_SUBSCRIPTION_KILLS` overrides it.
const KILLS: u64 = 6;
/// How long the subscriptions may take to catch up after the last kill. A delivery that has failed
/// several times waits for up to 72 s.
const CATCH_UP: Duration = Duration::from_secs(120);
const FLEET_SERVERS: usize = 3;

/// Servers that are killed and started again.
struct Fleet {
    setups: Vec<Setup>,
    servers: Vec<Option<Server>>,
}

impl Fleet {
    fn start(setups: Vec<Setup>) -> Self {
        let servers = setups.iter().map(|setup| Some(setup.start())).collect();
        Self { setups, servers }
    }

    fn first(&self) -> &Server {
        self.servers.iter().flatten().next().unwrap()
    }

    /// Kills a server and starts it again.
    fn kill(&mut self, place: usize, world: &World) {
        world.set_server(place, None);
        self.servers[place].take().unwrap().kill();
        let server = self.setups[place].start();
        checks::check_cursors(&server, world);
        world.set_server(place, Some(server.public));
        self.servers[place] = Some(server);
    }

    fn stop(self) {
        self.servers.into_iter().flatten().for_each(Server::stop);
    }
}

/// For how long servers are killed.
enum Length {
    Kills(u64),
    Until(Instant),
}

impl Length {
    /// `DS_TEST_SUBSCRIPTION_SECONDS`, or a number of kills.
    fn of_test() -> Self {
        match amount("DS_TEST_SUBSCRIPTION_SECONDS", 0) {
            0 => Self::Kills(amount("DS_TEST_SUBSCRIPTION_KILLS", KILLS)),
            seconds => Self::Until(Instant::now() + Duration::from_secs(seconds)),
        }
    }

    fn goes_on_after(&self, kills: u64) -> bool {
        match self {
            Self::Kills(most) => kills < *most,
            Self::Until(end) => Instant::now() < *end,
        }
    }
}

fn consumes_everything(what: &str, setups: Vec<Setup>) {
    let seed = super::seed();
    eprintln!("{what}: DS_TEST_SEED={seed}");
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let urls = [0, 1].map(|n: usize| format!("http://{}/", listeners[n].local_addr().unwrap()));
    let setups: Vec<Setup> = setups
        .into_iter()
        .map(|setup| setup.with("webhooks.allow_local_http", true))
        .collect();
    let mut fleet = Fleet::start(setups);
    checks::subscribe(fleet.first(), &urls);
    let start: BTreeMap<_, _> = (0..STREAMS)
        .map(|stream| format!("events/{stream}"))
        .map(|stream| (stream.clone(), fleet.first().head(&stream).send().next_offset()))
        .collect();
    let addresses = fleet.servers.iter().flatten().map(|server| server.public);
    let world = Arc::new(World::new(addresses));
    let kills = run(&mut fleet, &world, listeners, seed);
    // The last responses have been handled when the servers have stopped.
    world.forget_servers();
    sleep(Duration::from_millis(1200));
    let last = fleet.setups[0].clone();
    fleet.stop();
    let server = last.start();
    let cursors = checks::check_cursors(&server, &world);
    checks::check_nothing_ahead(&cursors, &world, &start);
    assert_eq!(world.failure(), None);
    let counts = world.counts();
    eprintln!(
        "{what}: {kills} kills, {} events appended; (processed, wakes, fenced): {SUBSCRIPTIONS:?} {counts:?}",
        world.appended().len()
    );
    assert!(counts.iter().all(|(_, wakes, _)| *wakes > 0));
}

/// Appends, consumes and kills. Returns the number of kills.
fn run(fleet: &mut Fleet, world: &Arc<World>, listeners: [TcpListener; 2], seed: u64) -> u64 {
    let (mut rng, mut kills) = (TestRng::new(seed), 0);
    std::thread::scope(|scope| {
        for number in 0..APPENDERS {
            scope.spawn(move || workers::append(world, seed ^ number));
        }
        for number in 0..amount("DS_TEST_SUBSCRIPTION_WORKERS", WORKERS) {
            scope.spawn(move || workers::work(world, seed ^ (100 + number)));
        }
        for (consumer, listener) in listeners.into_iter().enumerate() {
            scope.spawn(move || receivers::receive(world, &listener, consumer, seed ^ (200 + consumer as u64)));
        }
        let length = Length::of_test();
        while length.goes_on_after(kills) && world.failure().is_none() {
            sleep(Duration::from_millis(rng.below(600)));
            let place = rng.below(fleet.servers.len() as u64);
            fleet.kill(usize::try_from(place).unwrap(), world);
            kills += 1;
        }
        let deadline = Instant::now() + CATCH_UP;
        let target = world.next_event.load(SeqCst);
        while world.missing(target).iter().any(|left| *left > 0) && Instant::now() < deadline {
            sleep(Duration::from_millis(50));
        }
        let missing = world.missing(target);
        world.is_over.store(true, SeqCst);
        assert_eq!(missing, [0, 0, 0], "events that {SUBSCRIPTIONS:?} have not processed");
    });
    kills
}

#[test]
fn acid_subscriptions_lose_no_event() {
    consumes_everything("acid", vec![Setup::new().on_disk("acid")]);
}

#[test]
fn file_durable_subscriptions_lose_no_event() {
    consumes_everything("file-durable", vec![Setup::new().on_disk("file-durable")]);
}

#[test]
fn file_fast_subscriptions_lose_no_event() {
    consumes_everything("file-fast", vec![Setup::new().on_disk("file-fast")]);
}

/// Each request goes to another server, and each server may issue and deliver wakes.
#[test]
fn subscriptions_of_several_servers_lose_no_event() {
    let database = Postgres::shared().database();
    let setup = || {
        Setup::new()
            .with("storage.mode", "postgres")
            .with("storage.url", database.url())
    };
    consumes_everything("postgres", (0..FLEET_SERVERS).map(|_| setup()).collect());
}
