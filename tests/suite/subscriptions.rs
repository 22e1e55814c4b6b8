//! Subscriptions with real receivers, files and processes.

mod handover;
mod tokens;

use std::{
    io::{BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::support::{
    http::Answer,
    server::{Server, Setup},
    until,
    webhooks::Delivery,
};

/// A webhook receiver that keeps what it gets.
struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<Value>>>,
}

/// The status and the body of a response; `None` never answers.
type Response = Option<(u16, &'static str)>;

const DONE: Response = Some((200, "{\"done\":true}"));
const ACCEPTED: Response = Some((202, ""));

impl Receiver {
    /// Answers the request of this number, from 0.
    fn new(answer: impl Fn(usize) -> Response + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let received = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&received);
        std::thread::spawn(move || {
            let mut unanswered = Vec::new();
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let Some(delivery) = Delivery::read(&mut stream) else {
                    continue;
                };
                let is_signed = delivery
                    .head
                    .lines()
                    .any(|line| line.starts_with("webhook-signature: t="));
                assert!(is_signed, "{}", delivery.head);
                let number = {
                    let mut seen = seen.lock().unwrap();
                    seen.push(delivery.json());
                    seen.len() - 1
                };
                match answer(number) {
                    None => unanswered.push(stream),
                    Some((status, body)) => {
                        let length = body.len();
                        let head =
                            format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                        let _ = stream.get_mut().write_all(format!("{head}{body}").as_bytes());
                    }
                }
            }
        });
        Self { url, received }
    }

    fn received(&self) -> Vec<Value> {
        self.received.lock().unwrap().clone()
    }

    fn wait_for(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} deliveries"), || self.received().len() >= count);
        self.received()
    }
}

fn setup() -> Setup {
    Setup::new().with("webhooks.allow_local_http", true)
}

fn subscribe(server: &Server, id: &str, body: &Value) -> Answer {
    server
        .put(&format!("__ds/subscriptions/{id}"))
        .json(&body.to_string())
        .send()
}

fn webhook(receiver: &Receiver) -> Value {
    json!({ "type": "webhook", "pattern": "events/*", "webhook": { "url": receiver.url }, "lease_ttl_ms": 600_000 })
}

fn show(server: &Server, id: &str) -> Value {
    server
        .get(&format!("__ds/subscriptions/{id}"))
        .send()
        .expect(200)
        .json()
}

fn acked(server: &Server, id: &str, path: &str) -> Value {
    let shown = show(server, id);
    let streams = shown["streams"].as_array().unwrap();
    let stream = streams.iter().find(|stream| stream["path"] == path);
    stream.map_or(Value::Null, |stream| stream["acked_offset"].clone())
}

#[test]
fn every_event_is_delivered_on_every_backend_and_survives_a_restart() {
    for setup in ["acid", "file-durable", "file-fast"].map(|mode| setup().on_disk(mode)) {
        let receiver = Receiver::new(|_| DONE);
        let server = setup.start();
        subscribe(&server, "s", &webhook(&receiver)).expect(201);
        subscribe(&server, "s", &webhook(&receiver)).expect(200);
        let tail = server.put("events/1").json("[1]").send().next_offset();
        until("the cursor to move", || acked(&server, "s", "events/1") == tail);
        server.signal("TERM");
        drop(server);

        let server = setup.start();
        assert_eq!(acked(&server, "s", "events/1"), tail);
        let tail = server.post("events/1").json("[2]").send().next_offset();
        until("the cursor to move again", || acked(&server, "s", "events/1") == tail);
        let received = receiver.received();
        let generations: Vec<u64> = received
            .iter()
            .map(|body| body["generation"].as_u64().unwrap())
            .collect();
        assert!(generations.is_sorted_by(|one, next| one < next), "{generations:?}");
        assert!(server.metrics().contains("ds_streams 1\n"));
    }
}

#[test]
fn a_delivery_that_a_crash_cuts_off_is_made_again_at_once() {
    let receiver = Receiver::new(|number| if number == 0 { None } else { DONE });
    let setup = setup().acid();
    let server = setup.start();
    subscribe(&server, "s", &webhook(&receiver)).expect(201);
    let tail = server.put("events/1").json("[1]").send().next_offset();
    let first = receiver.wait_for(1).remove(0);
    server.signal("KILL");
    drop(server);

    // The lease, which would delay the next wake, lasts ten minutes.
    let server = setup.start();
    let second = receiver.wait_for(2).remove(1);
    assert!(second["generation"].as_u64() > first["generation"].as_u64());
    until("the cursor to move", || acked(&server, "s", "events/1") == tail);
    // The first worker is fenced.
    let callback = json!({ "wake_id": first["wake_id"], "generation": first["generation"], "done": true });
    let late = server
        .raw("POST", "/v1/stream/__ds/subscriptions/s/callback")
        .token(first["callback_token"].as_str().unwrap())
        .json(&callback.to_string())
        .send();
    late.problem(409);
    assert_eq!(late.json()["error"]["code"], "FENCED");
}

#[test]
fn a_receiver_that_fails_is_called_again_and_a_callback_finishes_what_it_accepted() {
    let receiver = Receiver::new(|number| if number == 0 { Some((500, "")) } else { ACCEPTED });
    let server = setup().gated().start();
    subscribe(&server, "s", &webhook(&receiver)).expect(201);
    let tail = server.put("events/1").json("[1]").send().next_offset();
    receiver.wait_for(1);
    until("the failure to show", || show(&server, "s")["status"] == "failed");
    let second = receiver.wait_for(2).remove(1);
    until("the success to show", || show(&server, "s")["status"] == "active");
    assert_eq!(acked(&server, "s", "events/1"), "0000000000000000_0000000000000000");

    let call_back = |offset: &str| {
        let acks = json!([{ "stream": "events/1", "offset": offset }]);
        let body =
            json!({ "wake_id": second["wake_id"], "generation": second["generation"], "acks": acks, "done": true });
        server
            .raw("POST", "/v1/stream/__ds/subscriptions/s/callback")
            .token(second["callback_token"].as_str().unwrap())
            .json(&body.to_string())
            .send()
    };
    let wrong = call_back("0000000000000001_0000000000000010");
    wrong.problem(409);
    assert_eq!(wrong.json()["error"]["code"], "INVALID_OFFSET");
    let finished = call_back(&tail).expect(200).json();
    assert_eq!(finished, json!({ "ok": true, "next_wake": false }));
    assert_eq!(acked(&server, "s", "events/1"), tail.as_str());
    let metrics = server.metrics();
    assert!(
        metrics.contains("ds_subscription_deliveries_total{outcome=\"failed\"} 1\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("ds_subscription_deliveries_total{outcome=\"accepted\"} 1\n"),
        "{metrics}"
    );
}

#[test]
fn bad_input_is_named_and_changes_nothing() {
    let receiver = Receiver::new(|_| DONE);
    let server = setup().start();
    let with = |member: &str, value: Value| {
        let mut body = webhook(&receiver);
        body[member] = value;
        body
    };
    for (member, value, names) in [
        ("type", json!("x"), "type"),
        ("pattern", json!("a*b"), "pattern"),
        ("pattern", json!("__ds/**"), "pattern"),
        ("pattern", json!(1), "body"),
        ("streams", json!(["a", "../b"]), "streams"),
        ("streams", json!(["__ds/x"]), "streams"),
        ("webhook", json!({}), "webhook.url"),
        ("webhook", json!({ "url": "http://10.0.0.1/x" }), "webhook.url"),
        (
            "webhook",
            json!({ "url": "https://[::ffff:127.0.0.1]/x" }),
            "webhook.url",
        ),
        ("lease_ttl_ms", json!(999), "lease_ttl_ms"),
        ("lease_ttl_ms", json!(-1), "body"),
        ("description", json!("x".repeat(1025)), "description"),
    ] {
        let refused = subscribe(&server, "s", &with(member, value.clone()));
        let detail = refused.problem(400);
        assert!(detail.starts_with(names), "{member} {value}: {detail}");
        let code = &refused.json()["error"]["code"];
        assert!(code == "INVALID_REQUEST" || code == "WEBHOOK_URL_REJECTED", "{code}");
    }
    let pull = json!({ "type": "pull-wake", "streams": ["a"] });
    assert!(subscribe(&server, "s", &pull).problem(400).starts_with("wake_stream"));
    assert!(
        subscribe(&server, "a%2Fb", &webhook(&receiver))
            .problem(400)
            .contains("slash")
    );
    server.put("__ds/subscriptions/s").json("{").send().problem(400);
    server.get("__ds/subscriptions/s").send().problem(404);
    let listed = server.get("__ds/subscriptions").send().expect(200).json();
    assert_eq!(listed, json!({ "subscriptions": [], "next": null }));
    server.get("%5f%5fds/subscriptions/s").send().problem(400);

    subscribe(&server, "s", &webhook(&receiver)).expect(201);
    let differs = subscribe(&server, "s", &with("lease_ttl_ms", json!(1000)));
    differs.problem(409);
    assert_eq!(differs.json()["error"]["code"], "SUBSCRIPTION_ALREADY_EXISTS");
    let claim = server
        .post("__ds/subscriptions/s/claim")
        .json("{\"worker\":\"w\"}")
        .send();
    claim.problem(400);
}

#[test]
fn a_token_of_a_wake_is_for_its_subscription_and_nothing_else() {
    let receiver = Receiver::new(|_| ACCEPTED);
    let server = setup().gated().start();
    for id in ["s", "t"] {
        subscribe(&server, id, &webhook(&receiver)).expect(201);
    }
    server.put("events/1").json("[1]").send().expect(201);
    let bodies = receiver.wait_for(2);
    let of = |id: &str| {
        bodies
            .iter()
            .find(|body| body["subscription_id"] == id)
            .unwrap()
            .clone()
    };
    let token = of("s")["callback_token"].as_str().unwrap().to_owned();
    let call_back = |id: &str, token: &str| {
        let body = json!({ "wake_id": "x", "generation": 1 });
        let target = format!("/v1/stream/__ds/subscriptions/{id}/callback");
        server.raw("POST", &target).token(token).json(&body.to_string()).send()
    };
    call_back("s", &token).problem(409);
    // Another subscription answers exactly like one that does not exist.
    let (known, unknown) = (call_back("t", &token), call_back("never", &token));
    known.problem(401);
    assert_eq!(known.shape(), unknown.shape());
    assert_eq!(known.header("www-authenticate"), Some("Bearer"));
    call_back("s", &server.server_token()).problem(401);
    // It opens nothing else.
    for (method, target) in [
        ("GET", "events/1"),
        ("GET", "__ds/subscriptions/s"),
        ("POST", "__ds/subscriptions/s/claim"),
        ("GET", "__ds/streams"),
    ] {
        let refused = server.raw(method, &format!("/v1/stream/{target}")).token(&token).send();
        refused.problem(401);
    }
    let jwks = server.raw("GET", "/v1/stream/__ds/jwks.json").send().expect(200);
    assert_eq!(jwks.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(jwks.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(jwks.json()["keys"].as_array().unwrap().len(), 1);
    assert!(!server.log.text().contains(&token), "the token is in the log");
}

#[test]
fn cursors_go_along_with_a_migration() {
    let receiver = Receiver::new(|_| DONE);
    let first = setup().acid();
    let server = first.start();
    subscribe(&server, "s", &webhook(&receiver)).expect(201);
    let tail = server.put("events/1").json("[1]").send().next_offset();
    until("the cursor to move", || acked(&server, "s", "events/1") == tail);
    let kid = show(&server, "s")["webhook"]["signing"]["kid"].clone();
    server.signal("TERM");
    drop(server);
    let second = setup().on_disk("file-durable");
    let to = second.data_dir();
    let arguments = [
        "storage",
        "migrate",
        "--to",
        to.to_str().unwrap(),
        "--mode",
        "file-durable",
    ];
    let (code, out, error) = first.run(&arguments);
    assert_eq!(code, 0, "{out}{error}");
    let server = second.start();
    assert_eq!(acked(&server, "s", "events/1"), tail);
    assert_eq!(show(&server, "s")["webhook"]["signing"]["kid"], kid);
}

#[test]
fn the_servers_own_streams_count_for_the_limit_and_are_not_refused() {
    let receiver = Receiver::new(|_| DONE);
    let server = setup().with("limits.max_streams", 3).start();
    // Its log, and the signing keys.
    subscribe(&server, "s", &webhook(&receiver)).expect(201);
    server.put("a").json("[]").send().expect(201);
    server.put("b").json("[]").send().problem(507);
    subscribe(&server, "t", &webhook(&receiver)).expect(201);
    assert!(server.metrics().contains("ds_streams 1\n"));
    for id in ["s", "t"] {
        server.delete(&format!("__ds/subscriptions/{id}")).send().expect(204);
    }
    server.put("b").json("[]").send().expect(201);
}
