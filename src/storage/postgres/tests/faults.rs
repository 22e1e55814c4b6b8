//! Lost connections and lost answers: what is acknowledged is there once, and so is what was in doubt.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::atomic::AtomicU8,
};

use super::{shared::*, *};
use crate::storage::{
    Landed, Verdict,
    contract::{append, name, remove},
};

const PASS: u8 = 0;
const DROP_ANSWERS: u8 = 1;
const DROP_REQUESTS: u8 = 2;

/// A proxy in front of PostgreSQL or a pooler that loses what it is told to lose.
pub(super) struct Proxy {
    port: u16,
    mode: Arc<AtomicU8>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn new() -> Self {
        Self::to(Postgres::shared().port())
    }

    pub(super) fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            mode: Arc::default(),
            connections: Arc::default(),
        };
        let (mode, connections) = (Arc::clone(&proxy.mode), Arc::clone(&proxy.connections));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                for (from, to, lost) in [(&client, &server, DROP_REQUESTS), (&server, &client, DROP_ANSWERS)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let mode = Arc::clone(&mode);
                    std::thread::spawn(move || forward(from, to, &mode, lost));
                }
                connections.lock().extend([client, server]);
            }
        });
        proxy
    }

    pub(super) fn open(&self, database: &Database<'_>) -> PostgresStorage {
        let direct = format!(":{}/", Postgres::shared().port());
        let options = PostgresOptions {
            url: database.url().replace(&direct, &format!(":{}/", self.port)),
            ..options(database)
        };
        PostgresStorage::open(&options, Clock::system()).unwrap()
    }

    /// A store with `before,` in the stream `s`.
    fn open_with_append(&self, database: &Database<'_>) -> PostgresStorage {
        let store = self.open(database);
        create(&store, "s", 1);
        commit(&store, &[floating("before,")]);
        store
    }

    /// Cuts all connections, and loses nothing from now on.
    pub(super) fn heal(&self) {
        for connection in self.connections.lock().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.mode.store(PASS, Ordering::SeqCst);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, mode: &AtomicU8, lost: u8) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || mode.load(Ordering::SeqCst) != lost && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn floating(data: &str) -> Group {
    group(vec![rev(1, 1), room(1, 1 << 30)], vec![append(1, 0, data)])
}

/// Waits until new connections are made. After one that could not be made, calls fail for a moment.
fn until_reached(store: &PostgresStorage) {
    wait_until(Postgres::shared(), "the database is not reached again", || {
        store.get(&name("s")).is_ok() && store.read(1, 0..1).is_ok()
    });
}

/// Commits while the proxy loses something, until `is_over` says that it has happened.
fn commit_through(mode: u8, is_over: impl Fn(&Database<'_>) -> bool) {
    let (database, proxy) = (Postgres::shared().database(), Proxy::new());
    let store = proxy.open_with_append(&database);
    proxy.mode.store(mode, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let committing = scope.spawn(|| commit(&store, &[floating("doubtful,")]));
        while !is_over(&database) {}
        proxy.heal();
        let landed = Landed { id: 1, at: 7, rev: 1 };
        assert_eq!(committing.join().unwrap(), [Verdict::Committed(vec![landed])]);
    });
    until_reached(&store);
    commit(&store, &[floating("after")]);
    assert_eq!(&store.read(1, 0..100).unwrap()[..], b"before,doubtful,after");
    assert_eq!(store.usage().bytes, 21);
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_in_the_log() {
    commit_through(DROP_ANSWERS, |database| {
        database.sql("select tail from durable_streams.heads") == "16"
    });
}

/// An append before it in the same batch is answered with an offset from that tail.
#[test]
fn a_removal_whose_answer_is_lost_is_found_with_the_tail_that_it_ended() {
    let (database, proxy) = (Postgres::shared().database(), Proxy::new());
    let store = proxy.open_with_append(&database);
    proxy.mode.store(DROP_ANSWERS, Ordering::SeqCst);
    std::thread::scope(|scope| {
        let removal = group(vec![rev(1, 1)], vec![remove("s", 1)]);
        let committing = scope.spawn(|| commit(&store, &[removal]));
        while database.sql("select count(*) from durable_streams.heads") != "0" {}
        proxy.heal();
        let verdicts = committing.join().unwrap();
        let [Verdict::Committed(landed)] = &verdicts[..] else {
            panic!("{verdicts:?}");
        };
        assert_eq!((landed[0].id, landed[0].at), (1, 7));
    });
}

#[test]
fn a_commit_whose_request_is_lost_is_sent_again() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    // A few questions later the request is lost for certain.
    commit_through(DROP_REQUESTS, |database| {
        database.sql("select 1") == "1" && asked.fetch_add(1, Ordering::SeqCst) > 10
    });
}

/// Appends numbers, and returns all of them.
fn append_numbers(store: &PostgresStorage) -> String {
    let mut expected = String::new();
    for number in 0..150 {
        let text = format!("{number},");
        loop {
            match store.commit(&[floating(&text)]) {
                Ok(Verdicts::Each(verdicts)) => {
                    assert_eq!(verdicts.len(), 1);
                    if let [Verdict::Committed(landed)] = &verdicts[..] {
                        assert_eq!(landed[0].at, expected.len() as u64);
                        break;
                    }
                    // Nothing else changes the stream.
                    panic!("{verdicts:?}");
                }
                Ok(other) => panic!("{other:?}"),
                // Nothing was sent.
                Err(CommitError::Storage(StorageError::Away(_))) => {}
                Err(error) => panic!("{error}"),
            }
        }
        expected.push_str(&text);
    }
    expected
}

#[test]
fn appends_survive_backends_that_are_ended_at_any_moment() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    let expected = std::thread::scope(|scope| {
        let appending = scope.spawn(|| append_numbers(&store));
        while !appending.is_finished() {
            // A new connection can be made in between, so that no outcome stays unknown.
            database.sql(
                "select pg_terminate_backend(pid) from pg_stat_activity \
                 where datname = current_database() and pid <> pg_backend_pid() order by random() limit 1; \
                 select pg_sleep(0.03)",
            );
        }
        appending.join().unwrap()
    });
    until_reached(&store);
    assert_eq!(store.read(1, 0..10_000).unwrap(), expected);
    assert_eq!(store.get(&name("s")).unwrap().unwrap().tail, expected.len() as u64);
}
