//! The primary is lost, and a standby takes its place: a synchronous one loses nothing, and what an
//! asynchronous one loses is said, never hidden.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        amount,
        fleet::Fleet,
        round::{self, Size},
        seed,
        support::{
            http::{Answer, Request},
            live::Sse,
            rng::TestRng,
            server::BASE,
            shared::postgres::{Postgres, Stop},
            until,
        },
    },
    faults::Fault,
    scene::Scene,
};

const SERVERS: usize = 3;

/// Leads all servers to a promoted standby.
fn fail_over(scene: &Scene, standby: &Postgres) {
    scene.postgres.stop(Stop::Immediate);
    standby.promote();
    let address = SocketAddr::from(([127, 0, 0, 1], standby.port()));
    for relay in &scene.relays {
        relay.lead_to(address);
        relay.cut();
    }
}

#[test]
fn a_synchronous_standby_takes_over_without_loss() {
    let seed = seed();
    for round in 0..amount("DS_TEST_ROUNDS", 1) {
        let seed = seed.wrapping_add(round);
        let scene = Scene::new(SERVERS, &[], None);
        let standby = scene.postgres.standby("s1", &[]);
        scene.postgres.set("synchronous_standby_names", "s1");
        until("the standby to be synchronous", || {
            scene.sql("select count(*) from pg_stat_replication where sync_state = 'sync'") == "1"
        });
        let size = Size {
            clients: 16,
            readers: 1,
            time: Duration::from_millis(amount("DS_TEST_ROUND_MILLIS", 5_000)),
        };
        let mut failed_over = false;
        let faults = |fleet: &Fleet, rng: &mut TestRng| {
            thread::sleep(Duration::from_millis(100 + rng.below(900)));
            if !std::mem::replace(&mut failed_over, true) {
                fail_over(&scene, &standby);
            } else {
                let fault = rng
                    .pick(&[Fault::Cut, Fault::Kill, Fault::LoseAnswers])
                    .copied()
                    .unwrap();
                fault.happen(&scene, fleet, rng);
            }
        };
        let (fleet, summary) = round::run(scene.fleet(), seed, size, faults);
        println!("synchronous standby, seed {seed}: {summary:?}");
        fleet.stop_all();
        assert!(summary.acknowledged > 0, "{summary:?}");
    }
}

/// A stream's requests at one server.
struct At {
    to: SocketAddr,
}

impl At {
    fn request(&self, method: &str, query: &str) -> Request {
        Request::new(self.to, method, &format!("{BASE}/s{query}"))
    }

    /// As one producer, so that it can be repeated while the server finds its way.
    fn append(&self, seq: u64, text: &str) -> Answer {
        let append = self.request("POST", "").producer("p", 0, seq).text(text);
        let mut answer = None;
        until("an append", || {
            answer = append.try_send().ok().filter(|answer| answer.status < 500);
            answer.is_some()
        });
        answer.unwrap()
    }

    /// The content, once the server is well again.
    fn content(&self) -> Answer {
        let mut answer = None;
        until("the server to answer", || {
            answer = self
                .request("GET", "")
                .try_send()
                .ok()
                .filter(|answer| answer.status == 200);
            answer.is_some()
        });
        answer.unwrap()
    }
}

#[test]
fn what_an_asynchronous_standby_loses_is_said() {
    let scene = Scene::new(2, &[], None);
    let standby = scene.postgres.standby("s1", &[]);
    let fleet = scene.fleet();
    let at = |place| At {
        to: fleet.address(place).unwrap(),
    };
    let (first, second) = (at(0), at(1));
    first.request("PUT", "").text("kept,").send().expect(201);
    until("the standby to have it", || {
        standby.sql("postgres", "select count(*) from durable_streams.chunks") == "1"
    });
    // The standby hears nothing more.
    standby.set("primary_conninfo", "host=127.0.0.1 port=1");
    until("the standby to be cut off", || {
        scene.sql("select count(*) from pg_stat_replication") == "0"
    });
    let mut reader = Sse::open(&second.request("GET", "?live=sse&offset=-1"));
    assert_eq!(reader.data(), "kept,");
    let lost = first.append(0, "lost,").expect(200).next_offset();
    assert_eq!(reader.data(), "lost,");
    let before = second.content();
    assert_eq!(before.text(), "kept,lost,");

    fail_over(&scene, &standby);
    // The reader has content that no longer exists: its read ends, and does not go on with other
    // content in the same place.
    let begin = Instant::now();
    while let Ok(Some(event)) = reader.try_next() {
        let told = format!("{event:?}");
        assert!(!told.contains("othr"), "{told}");
    }
    println!("the reader's response ended after {:?}", begin.elapsed());
    for place in [&first, &second] {
        assert_eq!(place.content().text(), "kept,");
        place.request("GET", &format!("?offset={lost}")).send().problem(410);
    }
    // The same length as before, with other content.
    assert!(first.append(0, "othr,").status < 300);
    for (number, place) in [&first, &second].into_iter().enumerate() {
        let after = place.content();
        assert_eq!(after.text(), "kept,othr,");
        let (old, new) = (before.header("etag").unwrap(), after.header("etag").unwrap());
        assert_ne!(old, new, "server {number}");
        let conditional = place.request("GET", "").header("if-none-match", old).send();
        assert_eq!(conditional.expect(200).text(), "kept,othr,", "server {number}");
    }
    let said = fleet.with(1, |server| server.log.text().to_lowercase()).unwrap();
    assert!(said.contains("lost"), "the loss is not in the log:\n{said}");
    fleet.stop_all();
}
