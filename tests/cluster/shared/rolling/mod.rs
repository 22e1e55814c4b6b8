//! A rolling restart of all servers under live readers and writes: no write fails, and every reader
//! is back soon and has read everything.

#[path = "../../../fault/deploys/events.rs"]
mod events;
#[allow(dead_code)]
#[path = "../../../fault/deploys/readers.rs"]
mod readers;
#[allow(dead_code)]
#[path = "../../../fault/deploys/record.rs"]
mod record;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::{
    super::{
        amount,
        support::{
            http::{Answer, Connection, Request},
            peers::{self, Proxy},
            server::BASE,
            until,
        },
    },
    scene::Scene,
};
use readers::Content;
use record::{Failure, Record};

const SERVERS: usize = 3;

const WRITERS: usize = 4;

/// Live readers; `DS_TEST_READERS` overrides it.
const READERS: u64 = 300;

/// A retry comes after this.
const PAUSE: Duration = Duration::from_millis(100);

/// A write that has not succeeded after this has failed.
const LIMIT: Duration = Duration::from_secs(15);

/// HAProxy in front of servers at these addresses. Each request goes to a random one that is ready.
fn proxy(dir: &std::path::Path, servers: &[SocketAddr]) -> Proxy {
    let lines: Vec<String> = servers
        .iter()
        .enumerate()
        .map(|(number, server)| format!("  server s{number} {server} check inter 200ms fall 1 rise 1"))
        .collect();
    Proxy::haproxy_with(dir, |address, _| {
        format!(
            "global\n  maxconn 8000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 120s\n  \
             timeout server 120s\n  option http-server-close\n  retries 5\n  retry-on conn-failure\n  \
             option redispatch 1\nfrontend edge\n  bind {address}\n  default_backend streams\nbackend streams\n  \
             balance random\n  option httpchk GET /readyz\n{}\n",
            lines.join("\n")
        )
    })
}

fn stream(number: usize) -> String {
    format!("rolling/{number}")
}

/// Sends a request until a server has accepted it, as clients with retries do.
#[track_caller]
fn surely(connection: &mut Option<Connection>, request: &Request) -> Answer {
    let begin = Instant::now();
    loop {
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::try_open(request.to, None).unwrap(),
        };
        let answer = request.send_on(&mut open);
        if let Ok(answer) = &answer
            && answer.header("connection") != Some("close")
        {
            *connection = Some(open);
        }
        match answer {
            Ok(answer) if answer.status < 500 => return answer,
            other => assert!(begin.elapsed() < LIMIT, "a write failed: {other:?}"),
        }
        thread::sleep(PAUSE);
    }
}

/// Appends to all streams in turn, as one producer of each; returns how many for each.
fn write(to: SocketAddr, number: usize, streams: usize, record: &Record, done: &AtomicBool) -> usize {
    let mut connection = None;
    for round in 0.. {
        for name in (0..streams).map(stream) {
            let append = Request::new(to, "POST", &format!("{BASE}/{name}"))
                .producer(&format!("w{number}"), 0, round)
                .json(&format!("\"{number}-{round}\""));
            let begin = Instant::now();
            let answer = surely(&mut connection, &append);
            assert!(matches!(answer.status, 200 | 204), "{answer:?}");
            record.wrote(begin, begin.elapsed());
            thread::sleep(Duration::from_millis(10));
        }
        if done.load(Ordering::Acquire) {
            return usize::try_from(round).unwrap() + 1;
        }
    }
    0
}

#[test]
fn a_rolling_restart_fails_no_write_and_loses_no_reader() {
    let readers = usize::try_from(amount("DS_TEST_READERS", READERS)).unwrap();
    let streams = (readers / 30).max(4);
    let addresses: Vec<SocketAddr> = (0..SERVERS).map(|_| peers::free_address()).collect();
    let scene = Scene::new(SERVERS, &[], None).each(|number, setup| {
        setup
            .with("server.bind_address", addresses[number])
            .with("limits.max_live_readers_per_address", 0)
            .with("limits.max_connections_per_address", 0)
            // The proxy notices that the server is not ready.
            .with("shutdown.delay_secs", 1)
    });
    let fleet = scene.fleet();
    let proxy = proxy(scene.dir(), &addresses);
    let put = |name: &str| {
        Request::new(proxy.address, "PUT", &format!("{BASE}/{name}")).header("content-type", "application/json")
    };
    until("the proxy to have servers", || put(&stream(0)).send().status < 300);
    (1..streams).for_each(|number| _ = put(&stream(number)).send().expect(201));

    let record = Arc::new(Record::default());
    let runtime = Runtime::new().unwrap();
    let live = readers::Fleet::new(proxy.address, Arc::clone(&record));
    let running: Vec<_> = (0..readers)
        .map(|number| {
            let name = stream(number % streams);
            let target = format!("{BASE}/{name}?live=sse");
            (name, live.follow(runtime.handle(), target.into()))
        })
        .collect();
    until("all readers", || live.connected() == readers);
    let done = AtomicBool::new(false);
    let written: Vec<usize> = thread::scope(|scope| {
        let (record, done, to) = (&record, &done, proxy.address);
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| scope.spawn(move || write(to, number, streams, record, done)))
            .collect();
        thread::sleep(Duration::from_secs(1));
        for place in 0..SERVERS {
            record.switched();
            fleet.stop(place);
            fleet.fill(place);
            until("all readers to be back", || live.connected() == readers);
        }
        thread::sleep(Duration::from_secs(1));
        done.store(true, Ordering::Release);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut contents = std::collections::BTreeMap::new();
    for name in (0..streams).map(stream) {
        let new = |method| Request::new(proxy.address, method, &format!("{BASE}/{name}"));
        surely(&mut None, &new("POST").header("stream-closed", "true"));
        let text = new("GET").send().expect(200).text();
        let messages: Vec<String> = serde_json::from_str(&text).unwrap();
        for (number, rounds) in written.iter().enumerate() {
            let prefix = format!("{number}-");
            let own = messages.iter().filter_map(|message| message.strip_prefix(&prefix));
            let own: Vec<usize> = own.map(|round| round.parse().unwrap()).collect();
            assert_eq!(own, Vec::from_iter(0..*rounds), "{name}: writer {number}");
        }
        contents.insert(name, Content::of(&text));
    }
    for (name, reader) in running {
        let read = runtime.block_on(reader).unwrap();
        assert_eq!(read, contents[&name], "a reader of {name} has other content");
    }
    println!("{}", record.report(&format!("{SERVERS} servers, {readers} readers")));
    assert_eq!(record.failures(Failure::Refused), 0);
    assert!(
        record.longest_return() < Duration::from_secs(5),
        "{:?}",
        record.longest_return()
    );
    fleet.stop_all();
}
