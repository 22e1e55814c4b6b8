//! One server, and two that hand the data directory over: killed, stopped and replaced at any
//! moment, they answer as one that never had a fault.

use std::{thread, time::Duration};

use super::{
    amount,
    fleet::Fleet,
    round::{self, Size},
    seed,
    support::{rng::TestRng, server::Setup, storage::on_disk},
};

/// Rounds for each mode; `DS_TEST_ROUNDS` overrides it.
const ROUNDS: u64 = 1;

/// Milliseconds of a round; `DS_TEST_ROUND_MILLIS` overrides it.
const MILLIS: u64 = 3_000;

fn rounds(what: &str, fleet: impl Fn() -> Fleet, faults: impl Fn(&Fleet, &mut TestRng)) {
    let size = Size {
        clients: 16,
        readers: 1,
        time: Duration::from_millis(amount("DS_TEST_ROUND_MILLIS", MILLIS)),
    };
    let first = seed();
    for number in 0..amount("DS_TEST_ROUNDS", ROUNDS) {
        let seed = first.wrapping_add(number);
        let (fleet, summary) = round::run(fleet(), seed, size, &faults);
        fleet.stop_all();
        println!("{what}, seed {seed}: {summary:?}");
        assert!(
            summary.acknowledged > 100 && summary.reads > 100 && summary.lives > 6,
            "{summary:?}"
        );
    }
}

/// Stops a server for a while. Its clients lose patience.
fn pause(fleet: &Fleet, rng: &mut TestRng) {
    thread::sleep(Duration::from_millis(50 + rng.below(300)));
    fleet.signal(0, "STOP");
    thread::sleep(Duration::from_millis(if rng.one_in(4) {
        2_000
    } else {
        rng.below(200)
    }));
    fleet.signal(0, "CONT");
}

fn kill(fleet: &Fleet, rng: &mut TestRng) {
    thread::sleep(Duration::from_millis(20 + rng.below(500)));
    fleet.kill(0);
    fleet.fill(0);
}

fn kill_or_pause(fleet: &Fleet, rng: &mut TestRng) {
    if rng.one_in(4) {
        pause(fleet, rng);
    } else {
        kill(fleet, rng);
    }
}

/// Two places, one data directory, and a server in the first.
fn one_of_two(mode: &str) -> Fleet {
    let setup = on_disk(mode);
    let fleet = Fleet::empty(vec![setup.clone(), setup]);
    fleet.fill(0);
    fleet
}

/// Starts a server in the other place, which takes the directory over. Sometimes either is killed.
fn hand_over(fleet: &Fleet, rng: &mut TestRng) {
    thread::sleep(Duration::from_millis(20 + rng.below(300)));
    let old = usize::from(fleet.address(0).is_none());
    let new = 1 - old;
    fleet.launch(new);
    thread::sleep(Duration::from_millis(rng.below(150)));
    match rng.below(6) {
        0 => fleet.kill(old),
        1 => {
            fleet.kill(new);
            thread::sleep(Duration::from_millis(rng.below(50)));
            fleet.launch(new);
        }
        _ => {}
    }
    fleet.with(new, |server| server.log.wait_for("serving"));
    thread::sleep(Duration::from_millis(rng.below(300)));
    fleet.stop(old);
}

#[test]
fn memory_answers_as_one() {
    rounds("memory", || Fleet::start(vec![Setup::new()]), pause);
}

#[test]
fn acid_answers_as_one_when_killed() {
    rounds("acid", || Fleet::start(vec![on_disk("acid")]), kill_or_pause);
}

#[test]
fn file_durable_answers_as_one_when_killed() {
    rounds(
        "file-durable",
        || Fleet::start(vec![on_disk("file-durable")]),
        kill_or_pause,
    );
}

#[test]
fn file_fast_answers_as_one_when_killed() {
    rounds("file-fast", || Fleet::start(vec![on_disk("file-fast")]), kill_or_pause);
}

#[test]
fn acid_answers_as_one_when_handed_over() {
    rounds("acid, handed over", || one_of_two("acid"), hand_over);
}

#[test]
fn file_durable_answers_as_one_when_handed_over() {
    rounds("file-durable, handed over", || one_of_two("file-durable"), hand_over);
}
