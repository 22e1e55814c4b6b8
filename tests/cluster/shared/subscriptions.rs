//! Two servers of one database: whichever is asked, the answer is the same.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::support::{
    server::{Server, Setup},
    shared::postgres::{Database, Postgres},
    until,
    webhooks::{Conduct, Receiver},
};

fn two(database: &Database<'_>) -> [Server; 2] {
    [(), ()].map(|()| {
        Setup::new()
            .with("storage.mode", "postgres")
            .with("storage.url", database.url())
            .with("webhooks.allow_local_http", true)
            .start()
    })
}

fn subscription(id: &str) -> String {
    format!("__ds/subscriptions/{id}")
}

#[track_caller]
fn create(server: &Server, id: &str, definition: &Value) {
    server
        .put(&subscription(id))
        .json(&definition.to_string())
        .send()
        .expect(201);
}

fn pulling() -> Value {
    json!({ "type": "pull-wake", "pattern": "e/*", "wake_stream": "wake" })
}

fn calling(receiver: &Receiver) -> Value {
    json!({ "type": "webhook", "pattern": "e/*", "webhook": { "url": receiver.url() }, "lease_ttl_ms": 1000 })
}

#[track_caller]
fn append(server: &Server, stream: &str) {
    server.post(stream).json("{}").send().expect(204);
}

#[track_caller]
fn claim(server: &Server) -> Value {
    let request = server.post(&format!("{}/claim", subscription("s")));
    request.json(r#"{"worker":"w"}"#).send().expect(200).json()
}

/// Acknowledges everything that was claimed. Returns whether another wake follows.
#[track_caller]
fn finish(server: &Server, claimed: &Value) -> bool {
    let acks: Vec<Value> = claimed["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stream| json!({ "stream": stream["path"], "offset": stream["tail_offset"] }))
        .collect();
    let body = json!({
        "wake_id": claimed["wake_id"], "generation": claimed["generation"], "acks": acks, "done": true,
    });
    let request = server.post(&format!("{}/ack", subscription("s")));
    let request = request.token(claimed["token"].as_str().unwrap());
    let answer = request.json(&body.to_string()).send().expect(200).json();
    answer["next_wake"].as_bool().unwrap()
}

#[test]
fn a_worker_may_ask_any_server() {
    let database = Postgres::shared().database();
    let [a, b] = two(&database);
    a.put("wake").json("[]").send().expect(201);
    a.put("e/1").json("[]").send().expect(201);
    create(&a, "s", &pulling());
    append(&b, "e/1");
    // None of these waits for anything.
    let claimed = claim(&a);
    b.post(&format!("{}/claim", subscription("s")))
        .json(r#"{"worker":"other"}"#)
        .send()
        .expect(409);
    append(&b, "e/1");
    assert!(finish(&a, &claimed));
    let claimed = claim(&b);
    assert!(!finish(&a, &claimed));
    b.put("e/2").json("[{}]").send().expect(201);
    let claimed = claim(&a);
    assert_eq!(claimed["streams"][0]["path"], "e/2");
    assert!(!finish(&b, &claimed));
    let listed = b.get("__ds/subscriptions").send().expect(200).json();
    assert_eq!(listed["subscriptions"][0]["id"], "s");
    b.delete(&subscription("s")).send().expect(204);
    a.get(&subscription("s")).send().expect(404);
    let listed = a.get("__ds/subscriptions").send().expect(200).json();
    assert_eq!(listed["subscriptions"], json!([]));
}

#[test]
fn a_wake_is_delivered_once_whichever_server_has_the_append() {
    let database = Postgres::shared().database();
    let [a, b] = two(&database);
    let receiver = Receiver::start(Conduct::Done);
    create(&a, "s", &calling(&receiver));
    for (number, server) in [&b, &a, &b].into_iter().enumerate() {
        server.put(&format!("e/{number}")).json("[{}]").send().expect(201);
        let delivery = receiver.wait_for(number + 1);
        assert_eq!(delivery.generation(), number as u64 + 1);
        until("the cursor has moved", || {
            let shown = a.get(&subscription("s")).send().expect(200).json();
            let streams = shown["streams"].as_array().unwrap().clone();
            streams
                .iter()
                .filter(|stream| stream["acked_offset"] != "0000000000000000_0000000000000000")
                .count()
                > number
        });
    }
    // Longer than the server waits that looks after the other.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(receiver.deliveries().len(), 3);
    let keys = [&a, &b].map(|server| server.get("__ds/jwks.json").send().expect(200).text());
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn a_wake_is_delivered_again_when_the_server_that_delivers_it_is_killed() {
    let database = Postgres::shared().database();
    let [a, b] = two(&database);
    let receiver = Receiver::start(Conduct::Hang);
    create(&a, "s", &calling(&receiver));
    b.put("e/1").json("[{}]").send().expect(201);
    assert_eq!(receiver.wait_for(1).generation(), 1);
    b.kill();
    receiver.behaves(Conduct::Done);
    assert!(receiver.wait_for(2).generation() > 1);
    until("the cursor has moved", || {
        let shown = a.get(&subscription("s")).send().expect(200).json();
        shown["pending_streams"] == 0 && shown["status"] == "active"
    });
}
