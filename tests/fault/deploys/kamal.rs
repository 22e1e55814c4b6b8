//! Deploys as Kamal makes them: the next server starts and answers `/up`, the proxy sends all new
//! requests to it, lets the previous one finish, cuts what is left, and stops it.

use std::{thread::sleep, time::Duration};

use super::{
    super::{Setup, amount, support::until},
    record::Failure,
    scene::Scene,
};

/// kamal-proxy's interval of probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// `DS_TEST_DEPLOYS` deploys, each with `DS_TEST_DRAIN_SECONDS` for the previous server. A reader
/// may take `DS_TEST_MAX_RETURN_SECONDS` from the end of its response to the next one.
fn nobody_notices_deploys(mode: &str) {
    let drain = Duration::from_secs(amount("DS_TEST_DRAIN_SECONDS", 4));
    // Readers end in two thirds of the time that the proxy gives them, as with the defaults.
    let spread = (drain * 2 / 3).as_secs();
    let setup = Setup::new().on_disk(mode).with("shutdown.spread_secs", spread);
    let mut scene = Scene::start(&setup);
    let mut current = scene.first_server();
    for _ in 0..amount("DS_TEST_DEPLOYS", 2) {
        let next = scene.setup.launch();
        until("the next server to be up", || {
            let is_up = next
                .raw("GET", "/up")
                .try_send()
                .is_ok_and(|answer| answer.status == 200);
            is_up || {
                sleep(PROBE_INTERVAL);
                false
            }
        });
        scene.switch_to(&next);
        sleep(drain);
        scene.switch.cut();
        std::mem::replace(&mut current, next).stop();
        scene.wait_for_readers();
    }
    let record = scene.finish(current, mode);
    assert_eq!(record.failures(Failure::Refused), 0);
    assert_eq!(record.failures(Failure::Connection), 0);
    let longest = record.longest_return();
    let max_return = Duration::from_secs(amount("DS_TEST_MAX_RETURN_SECONDS", 20));
    assert!(longest < max_return, "a reader was back after {longest:?}");
}

#[test]
fn nobody_notices_deploys_on_acid() {
    nobody_notices_deploys("acid");
}

#[test]
fn nobody_notices_deploys_on_file_durable() {
    nobody_notices_deploys("file-durable");
}

#[test]
fn nobody_notices_deploys_on_file_fast() {
    nobody_notices_deploys("file-fast");
}
