//! Deploys in which one of the two servers is killed.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use super::{
    super::{Server, Setup, amount, seed, support::rng::TestRng},
    record::Failure,
    scene::Scene,
};

/// The moments of a deploy at which a server is killed, from its start.
const DEPLOY: u64 = 1_500;

/// `DS_TEST_CRASHES` deploys with a crash. The other server must serve within
/// `DS_TEST_MAX_GAP_MS`.
fn a_crash_costs_connections_only(mode: &str) {
    let seed = seed();
    println!("{mode}: DS_TEST_SEED={seed}");
    let mut rng = TestRng::new(seed);
    let mut scene = Scene::start(&Setup::new().on_disk(mode).with("shutdown.spread_secs", 2));
    let mut current = scene.first_server();
    let mut gaps = Vec::new();
    for _ in 0..amount("DS_TEST_CRASHES", 4) {
        let started = Instant::now();
        let moment = Duration::from_millis(rng.below(DEPLOY));
        let switches_after = Duration::from_millis(rng.below(DEPLOY / 2));
        let next = scene.setup.launch();
        let is_switched = switches_after < moment;
        if is_switched {
            wait_until(started + switches_after);
            scene.switch_to(&next);
        }
        wait_until(started + moment);
        let (victim, survivor) = match rng.one_in(2) {
            true => (current, next),
            false => (next, current),
        };
        victim.kill();
        let killed = Instant::now();
        if scene.switch.target() != Some(survivor.public) {
            scene.switch_to(&survivor);
        }
        wait_until_serving(&survivor);
        gaps.push(killed.elapsed());
        current = survivor;
        scene.wait_for_readers();
    }
    let record = scene.finish(current, mode);
    let longest = gaps.iter().max().copied().unwrap_or_default();
    println!("  after a kill, the other served within {longest:?}");
    assert_eq!(record.failures(Failure::Refused), 0);
    let max_gap = Duration::from_millis(amount("DS_TEST_MAX_GAP_MS", 15_000));
    assert!(longest < max_gap, "no server for {longest:?}");
}

fn wait_until(moment: Instant) {
    sleep(moment.saturating_duration_since(Instant::now()));
}

/// The request waits for the store.
#[track_caller]
fn wait_until_serving(server: &Server) {
    server.head("s0").send().expect(200);
}

#[test]
fn a_crash_costs_connections_only_on_acid() {
    a_crash_costs_connections_only("acid");
}

#[test]
fn a_crash_costs_connections_only_on_file_durable() {
    a_crash_costs_connections_only("file-durable");
}

#[test]
fn a_crash_costs_connections_only_on_file_fast() {
    a_crash_costs_connections_only("file-fast");
}
