//! Those who append, and workers that race for a subscription.

use std::{sync::atomic::Ordering::SeqCst, thread::sleep, time::Duration};

use serde_json::json;

use super::{
    super::support::rng::TestRng,
    STREAMS,
    world::{Work, World},
};

/// The subscription that is claimed.
const PULL: usize = 2;

pub fn append(world: &World, seed: u64) {
    let mut rng = TestRng::new(seed);
    while !world.is_over() {
        let n = world.next_event.fetch_add(1, SeqCst);
        let stream = format!("events/{}", rng.below(STREAMS));
        match world.send("POST", &stream, Some(json!({ "n": n })), None) {
            Some(answer) if answer.status == 204 => _ = world.appended().insert(n),
            _ => sleep(Duration::from_millis(5)),
        }
        sleep(Duration::from_millis(rng.below(12)));
    }
}

/// Claims, reads and acknowledges, in a different way each time.
pub fn work(world: &World, seed: u64) {
    let mut rng = TestRng::new(seed);
    while !world.is_over() {
        let body = json!({ "worker": format!("worker {seed}") });
        let claim = world.send("POST", "__ds/subscriptions/pull/claim", Some(body), None);
        let Some(claim) = claim.filter(|claim| claim.status == 200) else {
            sleep(Duration::from_millis(5 + rng.below(20)));
            continue;
        };
        let wake = claim.json();
        world.note_generation(PULL, &wake);
        let token = wake["token"].as_str().unwrap();
        if rng.one_in(8) {
            let body = json!({ "wake_id": wake["wake_id"], "generation": wake["generation"] });
            world.send("POST", "__ds/subscriptions/pull/release", Some(body), Some(token));
            continue;
        }
        let acks = world.read_all(PULL, &wake);
        if rng.one_in(10) {
            // Past the lease, so that another worker has the work by now.
            sleep(Duration::from_millis(1100));
        }
        let work = Work {
            consumer: PULL,
            wake: &wake,
            token,
            acks: &acks,
        };
        if rng.one_in(3) && !world.acknowledge("ack", &work, false) {
            continue;
        }
        world.acknowledge("ack", &work, true);
    }
}
