//! The proxy, its readers and writers, and what must hold at the end.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::runtime::Runtime;

use super::{
    super::{
        Server, Setup, amount, read_all,
        support::{
            http::Request,
            now,
            server::BASE,
            tokens::{client, server, with},
            until,
        },
    },
    readers::{Content, Fleet, Running, failure},
    record::{Failure, Record},
    switch::Switch,
    writers::{self, Desk, Gem},
};

/// Long enough for every run.
const TOKEN_LIFE: u64 = 4 * 3600;

/// Threads of each kind of writer.
const WRITERS: usize = 5;

/// Catch-up reads of whole streams.
const READ_INTERVAL: Duration = Duration::from_millis(200);

pub struct Scene {
    pub setup: Setup,
    pub switch: Switch,
    record: Arc<Record>,
    runtime: Runtime,
    desk: Arc<Desk>,
    streams: Vec<String>,
    fleet: Arc<Fleet>,
    running: Vec<(String, Running)>,
    threads: Vec<JoinHandle<()>>,
    gem: Option<Gem>,
    first: Option<Server>,
}

impl Scene {
    /// `DS_TEST_READERS` readers and `DS_TEST_WRITES` writes a second. Half of the writes are the
    /// gem's with `DS_TEST_GEM=1`, and all others curl's.
    pub fn start(setup: &Setup) -> Self {
        let readers = usize::try_from(amount("DS_TEST_READERS", 300)).unwrap();
        let setup = setup
            .clone()
            .gated()
            .with("proxy.enabled", true)
            .with("proxy.forwarded_headers", "x-forwarded")
            .with("proxy.trusted_proxies", "127.0.0.1")
            .with("limits.max_live_readers_per_principal", 0);
        let first = setup.start();
        let mut switch = Switch::start(setup.dir.path());
        switch.to(first.public);
        let record = Arc::new(Record::default());
        let runtime = Runtime::new().unwrap();
        let streams = Vec::from_iter((0..readers.div_ceil(25).max(WRITERS)).map(|number| format!("s{number}")));
        for stream in &streams {
            first
                .put(stream)
                .header("content-type", "application/json")
                .send()
                .expect(201);
        }
        let fleet = Fleet::new(switch.address(), Arc::clone(&record));
        let targets = streams.iter().cycle().take(readers);
        let running = targets.map(|stream| {
            let claims = client(now(), stream, &["read"]);
            let token = setup
                .issuer
                .token(&with(claims, "exp", serde_json::Value::from(now() + TOKEN_LIFE)));
            let target = format!("{BASE}/{stream}?live=sse&token={token}");
            (stream.clone(), fleet.follow(runtime.handle(), target.into()))
        });
        let running: Vec<_> = running.collect();
        let desk = Arc::new(Desk {
            to: switch.address(),
            record: Arc::clone(&record),
            is_over: false.into(),
            outcomes: Default::default(),
        });
        let mut scene = Self {
            setup,
            switch,
            record,
            runtime,
            desk,
            streams,
            fleet,
            running,
            threads: Vec::new(),
            gem: None,
            first: Some(first),
        };
        scene.wait_for_readers();
        scene.write();
        scene.read();
        scene
    }

    pub fn first_server(&mut self) -> Server {
        self.first.take().unwrap()
    }

    /// Sends new requests to this server.
    pub fn switch_to(&mut self, server: &Server) {
        self.record.switched();
        self.switch.to(server.public);
    }

    /// Waits until every reader has a response.
    pub fn wait_for_readers(&self) {
        until("all readers to be connected", || {
            self.fleet.connected() == self.running.len()
        });
    }

    fn server_token(&self) -> String {
        let claims = with(server(now()), "exp", Some(serde_json::Value::from(now() + TOKEN_LIFE)));
        self.setup.issuer.token(&claims)
    }

    fn write(&mut self) {
        let has_gem = amount("DS_TEST_GEM", 0) > 0;
        let kinds = if has_gem { 2 } else { 1 };
        let each = amount("DS_TEST_WRITES", 20) as f64 / (kinds * WRITERS) as f64;
        let pause = Duration::from_secs_f64(1.0 / each);
        for number in 0..WRITERS {
            let own = self.streams.iter().skip(number).step_by(WRITERS).cloned().collect();
            let (name, token) = (format!("curl{number}"), self.server_token());
            self.threads.push(writers::curl(&self.desk, name, own, pause, token));
        }
        if has_gem {
            let gem = Gem::start(&self.desk, &self.setup.issuer, &self.streams, pause, WRITERS);
            self.gem = Some(gem);
        }
        let record = Arc::clone(&self.record);
        until("all to have written", || record.writes() > 10 * WRITERS * kinds);
    }

    fn read(&mut self) {
        let (desk, streams, token) = (Arc::clone(&self.desk), self.streams.clone(), self.server_token());
        self.threads.push(thread::spawn(move || {
            for stream in streams.iter().cycle() {
                if desk.is_over.load(Ordering::Acquire) {
                    return;
                }
                let request = Request::new(desk.to, "GET", &format!("{BASE}/{stream}")).token(&token);
                match request.try_send() {
                    Ok(answer) if answer.status == 200 => desk.record.read(),
                    Ok(answer) => {
                        let said = format!("{:?} {}", answer.headers, answer.text());
                        desk.record.failed(failure(answer.status, &said), "read", &said);
                    }
                    Err(error) => desk.record.failed(Failure::Connection, "read", &error.to_string()),
                }
                thread::sleep(READ_INTERVAL);
            }
        }));
    }

    /// Ends the writers, closes the streams, and checks that nothing is lost or doubled: not in the
    /// streams, and not by any reader. Prints the figures.
    pub fn finish(mut self, server: Server, name: &str) -> Arc<Record> {
        self.desk.is_over.store(true, Ordering::Release);
        self.gem.take().into_iter().for_each(Gem::stop);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        let mut contents = BTreeMap::new();
        let mut found = BTreeMap::new();
        for stream in &self.streams {
            server.post(stream).header("stream-closed", "true").send().expect(204);
            let text = format!("[{}]", String::from_utf8(read_all(&server, stream).0).unwrap());
            contents.insert(stream.clone(), Content::of(&text));
            count(&text, &mut found);
        }
        let outcomes = std::mem::take(&mut *self.desk.outcomes.lock().unwrap());
        for (write, outcome) in &outcomes {
            let times = found.get(write).copied().unwrap_or(0);
            let fits = if outcome.is_acknowledged {
                times == 1
            } else {
                times <= 1
            };
            assert!(fits, "{write} is there {times} times: {outcome:?}");
        }
        let unknown = found.keys().find(|write| !outcomes.contains_key(*write));
        assert_eq!(unknown, None, "nobody has written this");
        let readers = self.running.len();
        for (stream, reader) in self.running.drain(..) {
            let limited = async { tokio::time::timeout(Duration::from_secs(60), reader).await };
            let read = self
                .runtime
                .block_on(limited)
                .expect("a reader to see the close")
                .unwrap();
            assert_eq!(read, contents[&stream], "a reader of {stream}");
        }
        println!("{}", self.record.report(name));
        println!(
            "  {} writes are in the streams once, {readers} readers have read the same",
            outcomes.len()
        );
        server.stop();
        self.record
    }
}

/// Counts the writes in a stream, which must be in the order of their writer.
fn count(content: &str, found: &mut BTreeMap<String, usize>) {
    let messages: Vec<serde_json::Value> = serde_json::from_str(content).unwrap();
    let mut last = BTreeMap::new();
    for message in messages {
        let write = message["write"]
            .as_str()
            .or(message["key"].as_str())
            .unwrap()
            .to_owned();
        let (writer, _) = write.split_once('-').unwrap();
        let previous = last.insert(writer.to_owned(), write.clone());
        assert!(previous.is_none_or(|previous| previous < write), "{write} is late");
        *found.entry(write).or_default() += 1;
    }
}
