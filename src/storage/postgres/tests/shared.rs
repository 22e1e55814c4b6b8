//! Several stores on one database.

use super::*;
use crate::storage::{
    Change, Expect, Landed, ProducerState, Progress, StreamRecord, Verdict,
    contract::{append, name, producer, put, record, remove},
};

struct Servers {
    database: Database<'static>,
    a: PostgresStorage,
    b: PostgresStorage,
}

fn servers() -> Servers {
    let database = Postgres::shared().database();
    let (a, b) = (open(&database), open(&database));
    Servers { database, a, b }
}

pub(super) fn group(expects: Vec<Expect>, changes: Vec<Change>) -> Group {
    Group { expects, changes }
}

#[track_caller]
pub(super) fn commit(store: &PostgresStorage, groups: &[Group]) -> Vec<Verdict> {
    match store.commit(groups).unwrap() {
        Verdicts::Each(verdicts) => verdicts,
        Verdicts::AllCommitted => panic!("a shared store names each verdict"),
    }
}

#[track_caller]
pub(super) fn create(store: &PostgresStorage, text: &str, id: u64) {
    let absent = Expect::Absent { name: name(text) };
    let verdicts = commit(store, &[group(vec![absent], vec![put(text, record(id))])]);
    assert_eq!(verdicts, [Verdict::Committed(vec![Landed { id, at: 0, rev: 1 }])]);
}

fn closed(id: u64) -> StreamRecord {
    StreamRecord {
        closed: true,
        ..record(id)
    }
}

pub(super) const fn rev(id: u64, rev: u64) -> Expect {
    Expect::Rev { id, rev }
}

pub(super) const fn room(id: u64, at_most: u64) -> Expect {
    Expect::Room { id, at_most }
}

#[test]
fn a_floating_append_lands_at_the_end_and_says_where() {
    let Servers {
        database: _database,
        a,
        b,
    } = servers();
    create(&a, "s", 1);
    let floating = |data: &str| group(vec![rev(1, 1), room(1, 100)], vec![append(1, 0, data)]);
    let at = |at| Verdict::Committed(vec![Landed { id: 1, at, rev: 1 }]);
    assert_eq!(commit(&a, &[floating("one,")]), [at(0)]);
    assert_eq!(commit(&b, &[floating("two,")]), [at(4)]);
    assert_eq!(commit(&a, &[floating("three,")]), [at(8)]);
    assert_eq!(&b.read(1, 0..100).unwrap()[..], b"one,two,three,");
    // An append that must land where it was judged.
    let exact = group(vec![rev(1, 1)], vec![append(1, 8, "late")]);
    let [Verdict::Moved(now)] = &commit(&b, std::slice::from_ref(&exact))[..] else {
        panic!("the tail is elsewhere");
    };
    let stored = now[0].1.as_ref().unwrap();
    assert_eq!((now[0].0, stored.tail, stored.rev), (1, 14, 1));
    // One for which there is no room left.
    let full = group(vec![rev(1, 1), room(1, 13)], vec![append(1, 8, "late")]);
    assert!(matches!(commit(&b, &[full])[..], [Verdict::Moved(_)]));
    assert_eq!(b.get(&name("s")).unwrap().unwrap().tail, 14);
}

#[test]
fn a_group_that_does_not_hold_is_left_out_and_the_others_are_committed() {
    let Servers {
        database: _database,
        a,
        b,
    } = servers();
    create(&a, "s", 1);
    create(&a, "t", 2);
    create(&b, "u", 3);
    commit(&a, &[group(vec![rev(2, 1)], vec![put("t", closed(2))])]);
    let append_to = |id| group(vec![rev(id, 1), room(id, 100)], vec![append(id, 0, "x")]);
    // The second group spans two streams, of which one has moved.
    let spanning = group(
        vec![rev(2, 1), rev(3, 1), room(3, 100)],
        vec![append(2, 0, "y"), append(3, 0, "y")],
    );
    let verdicts = commit(&b, &[append_to(1), spanning]);
    assert_eq!(verdicts[0], Verdict::Committed(vec![Landed { id: 1, at: 0, rev: 1 }]));
    let Verdict::Moved(now) = &verdicts[1] else {
        panic!("{verdicts:?}");
    };
    let found: Vec<_> = now
        .iter()
        .map(|(id, stored)| (*id, stored.as_ref().unwrap().rev))
        .collect();
    assert_eq!(found, [(2, 2), (3, 1)]);
    assert!(now[0].1.as_ref().unwrap().record.closed);
    assert_eq!(&a.read(1, 0..10).unwrap()[..], b"x");
    assert!(a.read(3, 0..10).unwrap().is_empty());
}

#[test]
fn a_name_is_created_once() {
    let Servers {
        database: _database,
        a,
        b,
    } = servers();
    create(&a, "s", 1);
    let absent = || Expect::Absent { name: name("s") };
    let again = group(vec![absent()], vec![put("s", record(2))]);
    assert!(matches!(commit(&b, &[again])[..], [Verdict::Moved(_)]));
    assert_eq!(b.get(&name("s")).unwrap().unwrap().record.id, 1);
    // A refusal that rests on the absence of a name.
    let verdicts = commit(
        &b,
        &[
            group(vec![absent()], vec![]),
            group(vec![Expect::Absent { name: name("t") }], vec![]),
        ],
    );
    assert!(
        matches!(verdicts[..], [Verdict::Moved(_), Verdict::Committed(_)]),
        "{verdicts:?}"
    );
    // Removed by one, its name is free for the other.
    commit(&a, &[group(vec![rev(1, 1)], vec![remove("s", 1)])]);
    create(&b, "s", 2);
    let gone = commit(&a, &[group(vec![rev(1, 1), room(1, 9)], vec![append(1, 0, "x")])]);
    assert_eq!(gone, [Verdict::Moved(vec![(1, None)])]);
}

#[test]
fn writers_are_expected_as_they_were() {
    let Servers {
        database: _database,
        a,
        b,
    } = servers();
    create(&a, "s", 1);
    let state = |seq| ProducerState { epoch: 0, seq };
    let produce = |before: Option<u64>, seq: u64| {
        let progress = before.map(|seq| Progress::Producer(state(seq)));
        let expected = Expect::Writer {
            id: 1,
            key: "p".to_owned(),
            progress,
        };
        group(
            vec![rev(1, 1), expected, room(1, 100)],
            vec![append(1, 0, "x"), producer(1, "p", state(seq), seq)],
        )
    };
    assert!(matches!(commit(&a, &[produce(None, 0)])[..], [Verdict::Committed(_)]));
    assert!(matches!(commit(&b, &[produce(None, 0)])[..], [Verdict::Moved(_)]));
    assert!(matches!(
        commit(&b, &[produce(Some(0), 1)])[..],
        [Verdict::Committed(_)]
    ));
    assert!(matches!(commit(&a, &[produce(Some(0), 1)])[..], [Verdict::Moved(_)]));
    assert_eq!(&a.read(1, 0..10).unwrap()[..], b"xx");
    // A repetition is a group that only expects.
    let repeated = Group {
        changes: Vec::new(),
        ..produce(Some(1), 2)
    };
    assert_eq!(
        commit(&a, &[repeated]),
        [Verdict::Committed(vec![Landed { id: 1, at: 2, rev: 1 }])]
    );
}

#[test]
fn a_commit_of_one_number_happens_once() {
    let Servers { database, a, b: _b } = servers();
    create(&a, "s", 1);
    let again = "select * from durable_streams.commit_v1(1, 1, '{1}', null, '{1}', '{0}', '{1}', '{null}', '{9}', '{x}', \
        '{1}', '{null}', null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, \
        null, null, null, null, null, null)";
    let refused = format!(
        "do $$ begin perform 1 from ({again}) c; raise exception 'it happened twice'; \
         exception when unique_violation then null; end $$"
    );
    database.sql(&refused);
    assert_eq!(a.get(&name("s")).unwrap().unwrap().tail, 0);
    // A commit that was settled cannot happen any more.
    database.sql("select durable_streams.settle_v1(1, 2)");
    database.sql(&refused.replace("commit_v1(1, 1,", "commit_v1(1, 2,"));
    assert_eq!(a.get(&name("s")).unwrap().unwrap().tail, 0);
    // However late it comes: only the newest row of a lane stays.
    database.sql("select durable_streams.settle_v1(1, 3)");
    database.sql("delete from durable_streams.log where n < 3");
    database.sql(&refused.replace("commit_v1(1, 1,", "commit_v1(1, 2,"));
    assert_eq!(a.get(&name("s")).unwrap().unwrap().tail, 0);
}

#[test]
fn one_server_has_a_duty() {
    use crate::storage::Duty;
    let Servers { database, a, b } = servers();
    let take = |store: &PostgresStorage, duty| store.shared().unwrap().take_duty(duty).unwrap();
    assert!(take(&a, Duty::Sweep));
    assert!(!take(&b, Duty::Sweep));
    assert!(take(&b, Duty::Upkeep));
    assert!(take(&a, Duty::Sweep));
    database.sql("update durable_streams.duties set until = now() - interval '1 second' where duty = 'sweep'");
    assert!(take(&b, Duty::Sweep));
    assert!(!take(&a, Duty::Sweep));
    // After a failover to a machine whose clock is behind, a lease seems to last for long.
    database.sql("update durable_streams.duties set until = now() + interval '1 hour' where duty = 'sweep'");
    assert!(take(&a, Duty::Sweep));
}

#[test]
fn a_store_tells_the_time_of_its_database_from_the_start() {
    let database = Postgres::shared().database();
    let store = PostgresStorage::open(&options(&database), Clock::manual(7)).unwrap();
    let now: f64 = database.sql("select extract(epoch from now())").parse().unwrap();
    let told = SharedStore::clock(&store).secs() as f64;
    assert!((told - now).abs() < 60.0, "{told} {now}");
}

/// The rows that would prove its commits may be gone.
#[test]
fn a_lane_that_has_ended_stays_so() {
    let Servers { database, a, b: _b } = servers();
    create(&a, "s", 1);
    let lane = || database.sql("select lane from durable_streams.log order by lane desc limit 1");
    let ended = lane();
    database.sql("delete from durable_streams.servers");
    assert_eq!(database.sql(&format!("select durable_streams.seen_v2({ended})")), "f");
    assert_eq!(database.sql("select count(*) from durable_streams.servers"), "0");
    assert_eq!(
        database.sql(&format!("select count(*) from durable_streams.settle_v1({ended}, 1)")),
        "0"
    );
    // The next commit needs a lane, because the other servers read no row of another one.
    let appended = group(vec![rev(1, 1), room(1, 100)], vec![append(1, 0, "x")]);
    assert!(matches!(commit(&a, &[appended])[..], [Verdict::Committed(_)]));
    assert_ne!(lane(), ended);
    assert_eq!(database.sql("select lane from durable_streams.servers"), lane());
    assert_eq!(&a.read(1, 0..10).unwrap()[..], b"x");
}

/// Otherwise a migration does not see a server that only reads.
#[test]
fn a_server_whose_lane_has_ended_shows_again_that_it_is_alive() {
    let Servers { database, a, b: _b } = servers();
    create(&a, "s", 1);
    database.sql("delete from durable_streams.servers");
    let show = || a.block(a.core.show_alive()).unwrap().unwrap();
    show();
    let lane = database.sql("select lane from durable_streams.servers");
    assert_eq!(lane, a.core.lane_id().to_string());
    show();
    let appended = group(vec![rev(1, 1), room(1, 100)], vec![append(1, 0, "x")]);
    assert!(matches!(commit(&a, &[appended])[..], [Verdict::Committed(_)]));
    assert_eq!(database.sql("select lane from durable_streams.servers"), lane);
}

#[test]
fn servers_race_for_hot_streams_without_a_deadlock() {
    let database = Postgres::shared().database();
    let stores: Vec<Arc<PostgresStorage>> = (0..4).map(|_| Arc::new(open(&database))).collect();
    for id in 1..=8 {
        create(&stores[0], &format!("s{id}"), id);
    }
    let threads: Vec<_> = stores
        .iter()
        .enumerate()
        .map(|(number, store)| {
            let store = Arc::clone(store);
            std::thread::spawn(move || {
                let number = number as u64;
                let mut committed = 0;
                for round in 0..60u64 {
                    // In another order for each server, with streams that come and go.
                    let mut groups: Vec<Group> = (0..8)
                        .map(|step| (step * 3 + number * 5 + round) % 8 + 1)
                        .map(|id| group(vec![rev(id, 1), room(id, 1 << 30)], vec![append(id, 0, [number as u8])]))
                        .collect();
                    let (own, text) = (1_000 + number * 100 + round, format!("n{}", (round + number) % 3));
                    let found = store.get(&name(&text)).unwrap();
                    groups.push(match found {
                        None => group(
                            vec![Expect::Absent { name: name(&text) }],
                            vec![put(&text, record(own))],
                        ),
                        Some(stored) => group(
                            vec![rev(stored.record.id, stored.rev)],
                            vec![remove(&text, stored.record.id)],
                        ),
                    });
                    let verdicts = commit(&store, &groups);
                    let appended = verdicts.iter().take(8);
                    committed += appended
                        .filter(|verdict| matches!(verdict, Verdict::Committed(_)))
                        .count();
                }
                committed
            })
        })
        .collect();
    let committed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(committed, 4 * 60 * 8);
    let bytes: usize = (1..=8).map(|id| stores[0].read(id, 0..10_000).unwrap().len()).sum();
    assert_eq!(bytes, committed);
    assert!(!Postgres::shared().log().contains("deadlock detected"));
}

/// Each server has ids ready. A name's later life has the greater one, whoever creates it.
#[test]
fn a_stream_created_again_needs_a_greater_id() {
    let Servers {
        database: _database,
        a,
        b,
    } = servers();
    create(&a, "s", 20);
    let absent = || Expect::Absent { name: name("s") };
    // Together with the removal of the earlier life, and after it.
    let together = |id| group(vec![rev(20, 1)], vec![remove("s", 20), put("s", record(id))]);
    assert!(matches!(commit(&b, &[together(10)])[..], [Verdict::Moved(_)]));
    let removal = group(vec![rev(20, 1)], vec![remove("s", 20)]);
    // What the group had found is said also of a stream that it removed.
    let found = Verdict::Committed(vec![Landed { id: 20, at: 0, rev: 1 }]);
    assert_eq!(commit(&a, &[removal]), [found]);
    let later = |id| group(vec![absent()], vec![put("s", record(id))]);
    assert!(matches!(commit(&b, &[later(10)])[..], [Verdict::Moved(_)]));
    assert!(matches!(commit(&b, &[later(30)])[..], [Verdict::Committed(_)]));
}
