//! Tokens of wakes that were not issued.

use serde_json::json;

use super::Setup;

/// `auth.max_failures_per_minute` of a server without `auth`.
const MAX_FAILURES: usize = 240;

#[test]
fn a_client_whose_tokens_keep_failing_is_throttled_and_a_worker_beside_it_is_not() {
    let server = Setup::new().start();
    server.put("wake").json("[]").send().expect(201);
    server.put("e/1").json("[]").send().expect(201);
    let definition = json!({ "type": "pull-wake", "pattern": "e/*", "wake_stream": "wake" });
    let subscription = "__ds/subscriptions/s";
    server
        .put(subscription)
        .json(&definition.to_string())
        .send()
        .expect(201);
    server.post("e/1").json("{}").send().expect(204);
    let claim = server.post(&format!("{subscription}/claim")).json(r#"{"worker":"w"}"#);
    let claimed = claim.send().expect(200).json();
    let token = claimed["token"].as_str().unwrap();
    let body = json!({ "wake_id": claimed["wake_id"], "generation": claimed["generation"], "acks": [] });
    let ack = |token: &str| {
        let request = server.post(&format!("{subscription}/ack")).token(token);
        request.json(&body.to_string()).send()
    };
    // Of the right form, with another code.
    let wrong = format!("{}AAAA", &token[..token.len() - 4]);
    let refused = (0..10 * MAX_FAILURES).find_map(|attempt| {
        let token = if attempt % 2 == 0 { &wrong } else { "x" };
        let answer = ack(token);
        match answer.status {
            401 => None,
            // Some of the minute's budget is back by now.
            _ => Some((attempt, answer.expect(429))),
        }
    });
    let (attempts, refused) = refused.unwrap();
    assert!(attempts >= MAX_FAILURES, "{attempts}");
    assert!(refused.header("retry-after").is_some());
    ack(token).expect(200);
}
