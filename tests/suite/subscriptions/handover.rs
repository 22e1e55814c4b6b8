//! The data directory changes its holder while subscriptions are at work.

use super::*;

fn claim(server: &Server) -> Answer {
    let claim = server.post("__ds/subscriptions/p/claim").json("{\"worker\":\"w\"}");
    claim.send()
}

fn acknowledge(server: &Server, claimed: &Value, offset: &str) -> Answer {
    let acks = json!([{ "stream": "events/1", "offset": offset }]);
    let body =
        json!({ "wake_id": claimed["wake_id"], "generation": claimed["generation"], "acks": acks, "done": true });
    server
        .raw("POST", "/v1/stream/__ds/subscriptions/p/ack")
        .token(claimed["token"].as_str().unwrap())
        .json(&body.to_string())
        .send()
}

/// A second server takes the directory over while a delivery is in flight and a worker has a claim.
#[test]
fn a_handover_fails_no_request_about_subscriptions_and_repeats_a_delivery() {
    let receiver = Receiver::new(|number| if number == 0 { None } else { DONE });
    let setup = setup().acid();
    let first = setup.start();
    subscribe(&first, "s", &webhook(&receiver)).expect(201);
    let pull = json!({ "type": "pull-wake", "pattern": "events/*", "wake_stream": "wake" });
    subscribe(&first, "p", &pull).expect(201);
    let tail = first.put("events/1").json("[1]").send().next_offset();
    receiver.wait_for(1);
    let claimed = claim(&first).expect(200).json();

    let second = setup.launch();
    second.log.wait_for("registered with the holder");
    assert_eq!(show(&second, "p")["generation"], claimed["generation"]);
    first.log.wait_for("handed the data directory over");
    let repeated = receiver.wait_for(2).remove(1);
    assert_eq!(repeated["generation"], 2);
    until("the cursor to move", || acked(&second, "s", "events/1") == tail);
    // The first server forwards.
    assert_eq!(acked(&first, "s", "events/1"), tail);
    assert_eq!(claim(&first).expect(409).json()["error"]["code"], "ALREADY_CLAIMED");
    let acknowledged = acknowledge(&first, &claimed, &tail).expect(200).json();
    assert_eq!(acknowledged, json!({ "ok": true, "next_wake": false }));
    assert_eq!(acked(&second, "p", "events/1"), tail.as_str());
}

/// The server that has taken the directory over is killed during a delivery, while a worker has a
/// claim from it.
#[test]
fn the_former_holder_goes_on_with_what_its_killed_successor_began() {
    let receiver = Receiver::new(|number| if number == 1 { None } else { DONE });
    let setup = setup().acid();
    let first = setup.start();
    subscribe(&first, "s", &webhook(&receiver)).expect(201);
    let pull = json!({ "type": "pull-wake", "pattern": "events/*", "wake_stream": "wake", "lease_ttl_ms": 600_000 });
    subscribe(&first, "p", &pull).expect(201);
    let tail = first.put("events/1").json("[1]").send().next_offset();
    until("the cursor to move", || acked(&first, "s", "events/1") == tail);

    let second = setup.launch();
    assert_eq!(acked(&second, "s", "events/1"), tail);
    first.log.wait_for("handed the data directory over");
    let tail = second.post("events/1").json("[2]").send().next_offset();
    let lost = receiver.wait_for(2).remove(1);
    let claimed = claim(&second).expect(200).json();
    second.kill();

    // This request waits for it.
    assert_eq!(claim(&first).expect(409).json()["error"]["code"], "ALREADY_CLAIMED");
    first.log.wait_for("serving again");
    let repeated = receiver.wait_for(3).remove(2);
    let generation = |body: &Value| body["generation"].as_u64().unwrap();
    assert_eq!(generation(&repeated), generation(&lost) + 1);
    until("the cursor to move again", || acked(&first, "s", "events/1") == tail);
    acknowledge(&first, &claimed, &tail).expect(200);
    assert_eq!(acked(&first, "p", "events/1"), tail.as_str());
    // It is told of changes as before.
    let tail = first.post("events/1").json("[3]").send().next_offset();
    until("the cursor to move for the third time", || {
        acked(&first, "s", "events/1") == tail
    });
    assert_eq!(claim(&first).expect(200).json()["generation"], generation(&claimed) + 1);
}
