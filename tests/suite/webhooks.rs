//! Webhook deliveries to real receivers, which fail, hang, redirect and lie.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use super::support::{
    server::{BASE, Server, Setup},
    until,
    webhooks::{Conduct, Receiver},
};

fn setup() -> Setup {
    Setup::new().with("webhooks.allow_local_http", true)
}

fn status(server: &Server, id: &str) -> String {
    let shown = server
        .get(&format!("__ds/subscriptions/{id}"))
        .send()
        .expect(200)
        .json();
    shown["status"].as_str().unwrap().to_owned()
}

/// The cursor of the only stream.
fn cursor(server: &Server, id: &str) -> String {
    let shown = server
        .get(&format!("__ds/subscriptions/{id}"))
        .send()
        .expect(200)
        .json();
    shown["streams"][0]["acked_offset"].as_str().unwrap().to_owned()
}

fn append(server: &Server, stream: &str) -> String {
    server.post(stream).text("x").send().expect(204).next_offset()
}

/// A subscription `s` to the streams below `e`, of which `e/1` exists and is empty.
fn subscribed(server: &Server, receiver: &Receiver) {
    server.text_stream("e/1", "");
    receiver.subscribe(server, "s", "e/*");
}

fn between(secs: [f64; 2], duration: Duration) -> bool {
    // A busy machine may be late, and is never early.
    (secs[0]..secs[1] + 2.0).contains(&duration.as_secs_f64())
}

#[test]
fn a_receiver_that_is_done_is_woken_by_later_appends_alone() {
    let (server, receiver) = (setup().start(), Receiver::start(Conduct::Done));
    subscribed(&server, &receiver);
    for count in 1..=3 {
        let tail = append(&server, "e/1");
        let delivery = receiver.wait_for(count);
        assert_eq!(delivery.json()["streams"][0]["tail_offset"], tail.as_str());
        until("the cursor to move", || cursor(&server, "s") == tail);
    }
    server.text_stream("f/1", "x");
    assert_eq!(receiver.deliveries().len(), 3);
    assert_eq!(status(&server, "s"), "active");
}

#[test]
fn a_delivery_that_fails_is_repeated_with_a_growing_backoff() {
    let (server, receiver) = (setup().start(), Receiver::start(Conduct::Status(500)));
    subscribed(&server, &receiver);
    let before = cursor(&server, "s");
    let tail = append(&server, "e/1");
    let third = receiver.wait_for(3);
    assert_eq!((status(&server, "s"), cursor(&server, "s")), ("failed".into(), before));
    let [first, second, _] = &receiver.deliveries()[..] else {
        panic!("not three deliveries")
    };
    assert!(between([0.8, 1.2], second.at - first.at), "{:?}", second.at - first.at);
    assert!(between([1.6, 2.4], third.at - second.at), "{:?}", third.at - second.at);
    assert!(first.generation() < second.generation() && second.generation() < third.generation());
    receiver.behaves(Conduct::Done);
    until("the subscription to recover", || status(&server, "s") == "active");
    assert_eq!(cursor(&server, "s"), tail);
    assert_eq!(receiver.deliveries().len(), 4);
}

/// A request lists as many streams as fit.
#[test]
fn streams_that_one_request_leaves_out_come_first_in_the_next_one() {
    let (server, receiver) = (setup().start(), Receiver::start(Conduct::Status(500)));
    receiver.subscribe(&server, "s", "e/*");
    server.post("__ds/subscriptions/s/pause").send().expect(200);
    for number in 0..200 {
        server.text_stream(&format!("e/{number}-{}", "n".repeat(200)), "x");
    }
    server.post("__ds/subscriptions/s/resume").send().expect(200);
    let listed = |count: usize| -> Vec<String> {
        let body = receiver.wait_for(count).json();
        let streams = body["streams"].as_array().unwrap();
        streams.iter().map(|stream| stream["path"].to_string()).collect()
    };
    let (first, second) = (listed(1), listed(2));
    assert!((100..200).contains(&first.len()), "{}", first.len());
    let left_out = 200 - first.len();
    assert!(second.iter().take(left_out).all(|stream| !first.contains(stream)));
}

#[test]
fn the_backoff_survives_a_kill() {
    let (setup, receiver) = (setup().acid(), Receiver::start(Conduct::Status(503)));
    let server = setup.start();
    subscribed(&server, &receiver);
    let next_attempt = || server.get("__ds/subscriptions/s").send().expect(200).json()["next_attempt_at"].clone();
    append(&server, "e/1");
    until("the first failure to be stored", || next_attempt().is_string());
    let first = next_attempt();
    let second = receiver.wait_for(2);
    until("the second failure to be stored", || next_attempt() != first);
    server.kill();
    let server = setup.start();
    receiver.behaves(Conduct::Done);
    let third = receiver.wait_for(3);
    assert!(
        third.at - second.at >= Duration::from_millis(1600),
        "{:?}",
        third.at - second.at
    );
    assert!(third.generation() > second.generation());
    until("the subscription to recover", || status(&server, "s") == "active");
}

#[test]
fn a_delivery_that_a_kill_cuts_off_is_repeated() {
    let (setup, receiver) = (setup().acid(), Receiver::start(Conduct::Hang));
    let server = setup.start();
    subscribed(&server, &receiver);
    let tail = append(&server, "e/1");
    let first = receiver.wait_for(1);
    server.kill();
    receiver.behaves(Conduct::Done);
    let server = setup.start();
    let second = receiver.wait_for(2);
    assert!(second.generation() > first.generation());
    until("the cursor to move", || cursor(&server, "s") == tail);
}

#[test]
fn a_receiver_that_hangs_is_left_after_the_timeout() {
    let server = setup().with("webhooks.timeout_secs", 1).start();
    let receiver = Receiver::start(Conduct::Hang);
    subscribed(&server, &receiver);
    append(&server, "e/1");
    receiver.wait_for(1);
    until("the failure", || status(&server, "s") == "failed");
    receiver.behaves(Conduct::Done);
    until("the subscription to recover", || status(&server, "s") == "active");
    assert_eq!(receiver.deliveries().len(), 2);
}

#[test]
fn receivers_that_hang_do_not_delay_others() {
    const HANGING: usize = 100;
    let server = setup().start();
    let (hanging, good) = (Receiver::at("127.0.0.2", Conduct::Hang), Receiver::start(Conduct::Done));
    server.text_stream("e/1", "");
    for id in 0..HANGING {
        hanging.subscribe(&server, &format!("hanging-{id}"), "e/*");
    }
    append(&server, "e/1");
    // As many as one host may have at a time.
    hanging.wait_for(8);
    server.text_stream("f/1", "");
    good.subscribe(&server, "good", "f/*");
    let tail = append(&server, "f/1");
    good.wait_for(1);
    until("the cursor to move", || cursor(&server, "good") == tail);
    assert_eq!(hanging.deliveries().len(), 8);
}

#[test]
fn a_redirect_is_a_failure_and_leads_nowhere() {
    let (server, other) = (setup().start(), Receiver::start(Conduct::Done));
    let receiver = Receiver::start(Conduct::Redirect(other.url()));
    subscribed(&server, &receiver);
    let before = cursor(&server, "s");
    append(&server, "e/1");
    receiver.wait_for(2);
    assert_eq!(cursor(&server, "s"), before);
    assert!(other.deliveries().is_empty());
}

#[test]
fn a_response_in_doubt_acknowledges_nothing() {
    for (response, fails) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"done\":true}", true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\n{\"done\":true}\r\n",
            true,
        ),
        ("{\"done\":true}", true),
        ("", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"done\":true}}", false),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 26\r\n\r\n{\"done\":true,\"done\":false}",
            false,
        ),
    ] {
        let (server, receiver) = (setup().start(), Receiver::start(Conduct::Say(response)));
        subscribed(&server, &receiver);
        let before = cursor(&server, "s");
        append(&server, "e/1");
        receiver.wait_for(1);
        match fails {
            true => until("the failure", || status(&server, "s") == "failed"),
            false => until("the delivery to be counted", || {
                server.metric("ds_subscription_deliveries_total{outcome=\"accepted\"}") > 0.0
            }),
        }
        assert_eq!(cursor(&server, "s"), before, "{response:?}");
    }
}

#[test]
fn an_unsafe_url_is_refused_and_creates_nothing() {
    let server = setup().start();
    for url in [
        "http://10.0.0.1/hook",
        "http://example.com/hook",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://[::ffff:169.254.169.254]/latest/meta-data",
        "https://metadata.google.internal/",
        "https://user@example.com/",
        "https://example.com:22/",
        "file:///etc/passwd",
        "nonsense",
    ] {
        let definition = serde_json::json!({ "type": "webhook", "pattern": "e/*", "webhook": { "url": url } });
        let request = server.put("__ds/subscriptions/s").json(&definition.to_string());
        let detail = request.send().problem(400);
        assert!(detail.starts_with("webhook.url: "), "{url}: {detail}");
        server.get("__ds/subscriptions/s").send().expect(404);
    }
}

/// A process that is killed on drop.
struct Node {
    child: Child,
    /// Kept open, because the receiver writes to it.
    _out: BufReader<ChildStdout>,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The receiver of the documentation, with a handler that prints what it is given.
fn documented_receiver(server: &Server) -> (Node, String) {
    let page = include_str!("../../docs/subscriptions.md");
    let lines = page
        .lines()
        .skip_while(|line| !line.contains("createPublicKey, verify"));
    let code: Vec<&str> = lines
        .map_while(|line| line.strip_prefix("    ").or(line.is_empty().then_some("")))
        .collect();
    let code = code.join("\n");
    assert!(
        code.contains("process_stream.js") && code.contains(".listen(3000)"),
        "{code}"
    );
    let code = code.replace(
        ".listen(3000)",
        ".listen(0, '127.0.0.1', function () { console.log(this.address().port) })",
    );
    let directory = server.dir();
    std::fs::write(directory.join("receiver.mjs"), code).unwrap();
    let handler = "export const processStream = (path, offset) => console.log(path, offset)";
    std::fs::write(directory.join("process_stream.js"), handler).unwrap();
    std::fs::write(directory.join("package.json"), r#"{"type":"module"}"#).unwrap();
    let mut command = Command::new("node");
    command
        .arg("receiver.mjs")
        .current_dir(directory)
        .stdout(Stdio::piped());
    let mut child = command
        .env("DS_URL", format!("http://{}{BASE}", server.public))
        .spawn()
        .unwrap();
    let (mut out, mut port) = (BufReader::new(child.stdout.take().unwrap()), String::new());
    out.read_line(&mut port).unwrap();
    let node = Node { child, _out: out };
    (node, format!("http://127.0.0.1:{}/", port.trim()))
}

#[test]
fn the_documented_receiver_verifies_signatures() {
    let server = setup().start();
    server.text_stream("e/1", "");
    // The first webhook makes the key.
    let forger = Receiver::start(Conduct::Done);
    forger.subscribe(&server, "forger", "f/*");
    let (_node, url) = documented_receiver(&server);
    let definition = serde_json::json!({ "type": "webhook", "pattern": "e/*", "webhook": { "url": url } });
    server
        .put("__ds/subscriptions/s")
        .json(&definition.to_string())
        .send()
        .expect(201);
    let tail = append(&server, "e/1");
    until("the cursor to move", || cursor(&server, "s") == tail);
    assert_eq!(status(&server, "s"), "active");

    // Another receiver passes its own delivery on, as it is and changed.
    server.text_stream("f/1", "x");
    let delivery = forger.wait_for(1);
    let signature = delivery
        .head
        .lines()
        .find_map(|line| line.strip_prefix("webhook-signature: "))
        .unwrap();
    let to = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let request = || super::support::http::Request::new(to, "POST", "/");
    let replay = |body: &str, signature: &str| {
        let request = request().header("webhook-signature", signature);
        request.json(body).send().status
    };
    assert_eq!(replay(&delivery.body, signature), 200);
    assert_eq!(replay(&delivery.body.replace("forger", "forged"), signature), 401);

    // None of these ends it.
    assert_eq!(request().json(&delivery.body).send().status, 401);
    assert_eq!(replay(&delivery.body, "nonsense"), 401);
    assert_eq!(replay(&delivery.body, &signature.replace("kid=", "kid=un")), 401);
    assert_eq!(replay(&delivery.body, signature), 200);
}
