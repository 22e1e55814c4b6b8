//! The subscriptions, and where their cursors may be.

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    STREAMS, Server,
    world::{SUBSCRIPTIONS, World},
};

const BEGINNING: &str = "0000000000000000_0000000000000000";

/// The cursors of one subscription.
pub type Cursors = BTreeMap<String, String>;

pub fn subscribe(server: &Server, urls: &[String; 2]) {
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

/// The cursors of the subscriptions. None lies before what was confirmed.
pub fn check_cursors(server: &Server, world: &World) -> Vec<Cursors> {
    let mut all = Vec::new();
    for (consumer, id) in SUBSCRIPTIONS.iter().enumerate() {
        // Locked meanwhile, so that no worker acknowledges between the question and the check.
        let consumer = world.consumer(consumer);
        let shown = server
            .get(&format!("__ds/subscriptions/{id}"))
            .send()
            .expect(200)
            .json();
        let mut cursors = BTreeMap::new();
        for stream in shown["streams"].as_array().unwrap() {
            let text = |member: &str| stream[member].as_str().unwrap();
            let (path, acked) = (text("path"), text("acked_offset"));
            let least = consumer.confirmed.get(path).map_or("", String::as_str);
            assert!(acked >= least, "{id} {path}: {acked} was confirmed to be {least}");
            cursors.insert(path.to_owned(), acked.to_owned());
        }
        all.push(cursors);
    }
    all
}

/// With nobody at work, no cursor is ahead of what its workers have sent.
pub fn check_nothing_ahead(cursors: &[Cursors], world: &World, start: &Cursors) {
    for ((consumer, id), cursors) in SUBSCRIPTIONS.iter().enumerate().zip(cursors) {
        let consumer = world.consumer(consumer);
        for (path, acked) in cursors {
            let most = consumer.possible.get(path).or(start.get(path));
            let most = most.map_or(BEGINNING, String::as_str);
            assert!(acked.as_str() <= most, "{id} {path}: {acked} is ahead of {most}");
        }
    }
}
