//! Changes of other servers arrive: all of them, in order.

use std::sync::Weak;

use parking_lot::Condvar;

use super::{shared::*, *};
use crate::storage::{Changed, Verdict, contract::append};

/// A wait this long means that the code is broken.
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Recorder {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    changes: Vec<Changed>,
    missed: usize,
    restored: usize,
}

impl Feed for Recorder {
    fn changed(&self, changes: &[Changed]) {
        self.seen.lock().changes.extend_from_slice(changes);
        self.changed.notify_all();
    }

    fn happened_late(&self, changes: &[Changed]) {
        self.changed(changes);
    }

    fn missed(&self) {
        self.seen.lock().missed += 1;
        self.changed.notify_all();
    }

    fn restored(&self) {
        self.seen.lock().restored += 1;
        self.changed.notify_all();
    }
}

impl Recorder {
    /// A recorder that has begun to follow.
    pub(super) fn of(store: &PostgresStorage) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        let feed: Weak<dyn Feed> = Arc::downgrade(&(Arc::clone(&recorder) as Arc<dyn Feed>));
        store.follow(feed);
        recorder.wait("the beginning", |seen| seen.missed > 0);
        recorder
    }

    #[track_caller]
    fn wait(&self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let mut seen = self.seen.lock();
        self.changed.wait_while_for(&mut seen, |seen| !holds(seen), TIMEOUT);
        assert!(holds(&seen), "still waiting for {what}: {:?}", seen.changes);
    }

    #[track_caller]
    pub(super) fn wait_for_tail(&self, id: StreamId, tail: Position) {
        self.wait("the append", |seen| {
            seen.changes.iter().any(|change| (change.id, change.tail) == (id, tail))
        });
    }

    #[track_caller]
    pub(super) fn wait_until_restored(&self) {
        self.wait("another history", |seen| seen.restored > 0);
    }

    pub(super) fn has_seen_no_restore(&self) {
        assert_eq!(self.seen.lock().restored, 0);
    }

    /// The tails of a stream, in the order of their arrival.
    fn tails(&self, id: StreamId) -> Vec<Position> {
        let seen = self.seen.lock();
        seen.changes
            .iter()
            .filter(|change| change.id == id)
            .map(|change| change.tail)
            .collect()
    }
}

fn append_often(store: &PostgresStorage, id: StreamId, times: u64) {
    for at in 0..times {
        let appended = group(vec![rev(id, 1), room(id, 1 << 30)], vec![append(id, at, "x")]);
        assert!(matches!(commit(store, &[appended])[..], [Verdict::Committed(_)]));
    }
}

pub(super) fn everything_arrives(database: &Database<'static>, follower: &PostgresStorage) {
    let (b, c) = (open(database), open(database));
    create(&b, "b", 1);
    create(&c, "c", 2);
    create(follower, "own", 3);
    let recorder = Recorder::of(follower);
    std::thread::scope(|scope| {
        scope.spawn(|| append_often(&b, 1, 60));
        scope.spawn(|| append_often(&c, 2, 60));
        scope.spawn(|| append_often(follower, 3, 60));
    });
    recorder.wait("the last change", |seen| {
        let has = |id| seen.changes.iter().any(|change| change.id == id && change.tail == 60);
        has(1) && has(2)
    });
    let expected: Vec<u64> = (1..=60).collect();
    assert_eq!(recorder.tails(1), expected);
    assert_eq!(recorder.tails(2), expected);
    assert_eq!(recorder.tails(3), Vec::<u64>::new(), "own changes are known");
    assert_eq!(recorder.seen.lock().missed, 1);
}

#[test]
fn changes_of_other_servers_arrive_in_order() {
    let database = Postgres::shared().database();
    everything_arrives(&database, &open(&database));
}

#[test]
fn changes_arrive_although_no_notification_does() {
    let (database, elsewhere) = (Postgres::shared().database(), Postgres::shared().database());
    let options = PostgresOptions {
        listen_url: Some(elsewhere.url()),
        ..options(&database)
    };
    let follower = PostgresStorage::open(&options, Clock::system()).unwrap();
    everything_arrives(&database, &follower);
}

/// A page of the log is limited by what it holds, not only by its rows.
#[test]
fn large_commits_arrive_in_several_pages() {
    let database = Postgres::shared().database();
    let follower = open(&database);
    let recorder = Recorder::of(&follower);
    recorder.wait("the beginning", |seen| seen.missed == 1);
    let rows = database.sql(
        "with server as (insert into durable_streams.servers (name) values ('large') returning lane) \
         insert into durable_streams.log (lane, n, ids, revs, tails, streams, bytes) \
         select lane, n, ids, ids, ids, 0, 0 from server, generate_series(1, 40) n, \
           lateral (select array_agg(n * 10000::bigint + i) as ids from generate_series(1, 4096) i) i; \
         select count(*) || ' ' || sum(cardinality(ids)) from durable_streams.news_v2(0, '{}', '{}')",
    );
    assert_eq!(rows, "16 65536");
    recorder.wait("the last change", |seen| {
        seen.changes.iter().any(|change| change.id == 404_096)
    });
    let seen = recorder.seen.lock();
    assert_eq!((seen.changes.len(), seen.missed), (40 * 4_096, 1));
}

#[test]
fn what_the_log_no_longer_has_is_missed() {
    let database = Postgres::shared().database();
    let (a, b) = (open(&database), open(&database));
    create(&b, "s", 1);
    let recorder = Recorder::of(&a);
    append_often(&b, 1, 3);
    recorder.wait("the appends", |seen| seen.changes.iter().any(|change| change.tail == 3));
    // Commits whose rows are gone before anybody has read them.
    database.sql(
        "begin; update durable_streams.log set n = n + 100 where n = (select max(n) from durable_streams.log) \
         and lane = (select max(lane) from durable_streams.log where n = 4); commit",
    );
    recorder.wait("the gap", |seen| seen.missed > 1);
}
