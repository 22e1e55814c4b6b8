//! Three servers on one PostgreSQL answer as one, whatever happens to them, to it, or in between.

use std::{path::PathBuf, time::Duration};

use super::{
    super::{
        amount,
        round::{self, Size},
        seed,
        support::server::Setup,
    },
    faults::{Fault, any_of},
    pooler::PoolMode,
    scene::Scene,
};

/// Rounds of each test; `DS_TEST_ROUNDS` overrides it.
const ROUNDS: u64 = 1;

/// Milliseconds of a round; `DS_TEST_ROUND_MILLIS` overrides it.
const MILLIS: u64 = 4_000;

const SERVERS: usize = 3;

/// The library of the Debian package libfaketime, which gives a process another time.
#[track_caller]
fn fake_time() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let found = libraries.find(|library| library.exists());
    found.expect("libfaketime is missing: install the Debian package faketime")
}

fn rounds(what: &str, scene: impl Fn() -> Scene, faults: &[Fault]) {
    let size = Size {
        clients: 16,
        readers: 1,
        time: Duration::from_millis(amount("DS_TEST_ROUND_MILLIS", MILLIS)),
    };
    let first = seed();
    for number in 0..amount("DS_TEST_ROUNDS", ROUNDS) {
        let seed = first.wrapping_add(number);
        let scene = scene();
        let (fleet, summary) = round::run(scene.fleet(), seed, size, any_of(&scene, faults));
        println!("{what}, seed {seed}: {summary:?}");
        scene.had_no_deadlock();
        fleet.stop_all();
        assert!(summary.acknowledged > 0 && summary.reads > 0, "{summary:?}");
    }
}

fn direct() -> Scene {
    Scene::new(SERVERS, &[], None)
}

#[test]
fn servers_answer_as_one() {
    rounds("no faults but impatience", direct, &[Fault::Cut]);
}

#[test]
fn servers_answer_as_one_when_killed_and_stopped() {
    rounds("killed and stopped", direct, &[Fault::Kill, Fault::Pause]);
}

#[test]
fn servers_answer_as_one_when_answers_are_lost() {
    let faults = [Fault::LoseAnswers, Fault::Terminate, Fault::Cut, Fault::Partition];
    rounds("answers lost", direct, &faults);
}

#[test]
fn servers_answer_as_one_when_postgres_crashes_or_waits() {
    rounds("PostgreSQL crashes", direct, &[Fault::Crash, Fault::Lock]);
}

#[test]
fn servers_answer_as_one_whatever_happens() {
    rounds("everything", direct, &Fault::ALL);
}

#[test]
fn servers_answer_as_one_through_a_pooler() {
    for mode in [PoolMode::Session, PoolMode::Transaction] {
        let scene = || Scene::new(SERVERS, &[], Some(mode));
        let faults = [Fault::Pooler, Fault::Kill, Fault::LoseAnswers, Fault::Terminate];
        rounds(&format!("PgBouncer, {mode:?}"), scene, &faults);
    }
}

#[test]
fn servers_answer_as_one_when_the_disk_is_full() {
    let scene = || Scene::on_small_disk(SERVERS, 96);
    rounds("full disk", scene, &[Fault::Full, Fault::Cut]);
}

/// Clocks an hour apart in both directions.
#[test]
fn servers_answer_as_one_with_clocks_apart() {
    let library = fake_time();
    let apart = |number: usize, mut setup: Setup| {
        let shift = ["+0", "+1h", "-1h"][number];
        setup.variable("LD_PRELOAD", library.to_str().unwrap());
        setup.variable("FAKETIME", shift);
        setup.variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        setup
    };
    rounds("clocks apart", || direct().each(apart), &[Fault::Kill]);
}
