//! The `subscriptions` commands.

use serde_json::Value;

use super::{
    streams_cli::Shell,
    support::{
        server::{Server, Setup},
        webhooks::{Conduct, Receiver},
    },
};

fn server() -> Server {
    let server = Setup::new().with("webhooks.allow_local_http", true).start();
    server.put("wake/pool").json("").send().expect(201);
    server.text_stream("e/1", "x");
    server
}

const CREATE: [&str; 7] = [
    "subscriptions",
    "create",
    "pool",
    "--wake-stream",
    "wake/pool",
    "--pattern",
    "e/*",
];

#[test]
fn a_subscription_is_created_once_and_shown_in_words_and_in_json() {
    let server = server();
    let receiver = Receiver::start(Conduct::Done);
    let shell = Shell::to(&server);
    let url = receiver.url();
    let create = [
        "subscriptions",
        "create",
        "hook/?",
        "--webhook",
        &url,
        "--stream",
        "e/1",
        "--stream",
        "gid://x",
        "--lease",
        "60",
        "--description",
        "for tests",
    ];
    let error = shell.fails(&create);
    assert!(error.contains("subscription id") && error.contains("slash"), "{error}");
    let create: Vec<_> = create.iter().map(|part| part.replace("hook/?", "hook ü")).collect();
    let create: Vec<_> = create.iter().map(String::as_str).collect();
    assert_eq!(shell.ok(&create), "created hook ü\n");
    assert_eq!(
        shell.ok(&create),
        "unchanged hook ü: it exists with this configuration\n"
    );
    let other: Vec<_> = create
        .iter()
        .map(|part| if *part == "60" { "61" } else { part })
        .collect();
    let error = shell.fails(&other);
    assert!(
        error.contains("exists with another configuration") && error.contains("subscriptions show"),
        "{error}"
    );

    let shown = shell.ok(&["subscriptions", "show", "hook ü"]);
    let tail = server.head("e/1").send().next_offset();
    for line in [
        "id        hook ü",
        "type      webhook",
        "state     active",
        "about     for tests",
        &format!("receiver  {url}"),
        "lease     60 s",
        "key       ds_",
        "wakes     0",
        "pending   0 streams",
        &format!("cursor    {tail}  explicit  e/1"),
        "gid://x",
    ] {
        assert!(shown.contains(line), "{line}:\n{shown}");
    }
    let json: Value = serde_json::from_str(&shell.ok(&["subscriptions", "show", "hook ü", "--json"])).unwrap();
    assert_eq!(
        (&json["id"], &json["webhook"]["url"]),
        (&"hook ü".into(), &url.as_str().into())
    );
}

#[test]
fn list_shows_every_subscription_page_by_page() {
    let server = server();
    let shell = Shell::to(&server);
    assert_eq!(shell.ok(&["subscriptions", "list"]), "");
    for id in ["b", "a", "c"] {
        let create = CREATE.map(|part| if part == "pool" { id } else { part });
        shell.ok(&create);
    }
    shell.ok(&["subscriptions", "pause", "b"]);
    let lines = [
        "active  pull-wake        0 pending  a\n",
        "paused  pull-wake        0 pending  b\n",
        "active  pull-wake        0 pending  c\n",
    ];
    assert_eq!(shell.ok(&["subscriptions", "list"]), lines.concat());
    assert_eq!(
        shell.ok(&["subscriptions", "list", "--limit", "2"]),
        lines[..2].concat()
    );
    let json = shell.ok(&["subscriptions", "list", "--json"]);
    let ids: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[test]
fn a_paused_subscription_wakes_nobody_until_it_is_resumed() {
    let server = server();
    let shell = Shell::to(&server);
    shell.ok(&CREATE);
    assert_eq!(shell.ok(&["subscriptions", "pause", "pool"]), "paused pool\n");
    server.post("e/1").text("y").send().expect(204);
    let claim = server.post("__ds/subscriptions/pool/claim").json(r#"{"worker":"w"}"#);
    claim.send().expect(409);
    assert_eq!(server.content("wake/pool"), "[]");
    assert_eq!(shell.ok(&["subscriptions", "resume", "pool"]), "resumed pool\n");
    super::support::until("the wake", || server.content("wake/pool").contains("\"pool\""));
    claim.send().expect(200);
}

#[test]
fn changes_report_each_subscription() {
    let server = server();
    let shell = Shell::to(&server);
    shell.ok(&CREATE);
    let (code, out, error) = shell.run(&["subscriptions", "delete", "nobody", "pool"]);
    assert_eq!(code, 1);
    assert_eq!(out, "not deleted nobody: there is no such subscription\ndeleted pool\n");
    assert!(error.contains("1 deleted, 1 not, as reported above"), "{error}");
    assert_eq!(shell.ok(&["subscriptions", "list"]), "");
    let error = shell.fails(&["subscriptions", "show", "pool"]);
    assert!(error.contains("404") && error.contains("does not exist"), "{error}");
}

#[test]
fn what_cannot_be_created_is_explained() {
    let server = server();
    let shell = Shell::to(&server);
    let error = shell.fails(&[
        "subscriptions",
        "create",
        "x",
        "--webhook",
        "http://10.0.0.1/",
        "--pattern",
        "e/*",
    ]);
    assert!(error.contains("webhook.url: must begin with https://"), "{error}");
    let error = shell.fails(&[
        "subscriptions",
        "create",
        "x",
        "--wake-stream",
        "wake/pool",
        "--pattern",
        "__ds/**",
    ]);
    assert!(error.contains("pattern") && error.contains("reserved"), "{error}");
    for missing in [
        &["subscriptions", "create", "x", "--pattern", "e/*"][..],
        &["subscriptions", "create", "x", "--webhook", "https://example.com/"],
        &[
            "subscriptions",
            "create",
            "x",
            "--webhook",
            "https://example.com/",
            "--pattern",
            "*",
            "--lease",
            "601",
        ],
        &["subscriptions", "pause"],
    ] {
        assert_eq!(shell.run(missing).0, 2, "{missing:?}");
    }
}

#[test]
fn a_clients_token_manages_nothing() {
    let server = Setup::new().gated().start();
    let token = server.client_token("e/1", &["read", "write"]);
    let shell = Shell::to(&server).by(&token);
    let error = shell.fails(&["subscriptions", "list"]);
    assert!(error.contains("403") && error.contains("explain"), "{error}");
    let shell = Shell::to(&server).by(&server.server_token());
    assert_eq!(shell.ok(&["subscriptions", "list"]), "");
}
