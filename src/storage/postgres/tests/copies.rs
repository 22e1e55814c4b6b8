//! Copies from and to a database.

use std::{ops::ControlFlow, sync::mpsc};

use super::{shared::create, *};
use crate::{
    protocol::{Framing, Lifetime, StreamName},
    storage::{
        AcidStorage, Change, DirLock, FileStorage, Fork, Inherited, Life, Mark, Retention, StoreReport, StreamRecord,
        contract::{CommitChanges, Driver, Model, append, put, record, scratch},
        postgres::tools::Database as Named,
        tools::{
            Layout,
            database::{migrate_from_database, migrate_to_database},
        },
    },
};

/// Everything about a stream but its revision, which belongs to its store.
#[derive(Debug, PartialEq)]
struct Content {
    key: String,
    name: String,
    record: StreamRecord,
    tail: Position,
    bytes: Bytes,
    writers: Vec<(String, WriterState)>,
}

fn contents(store: &dyn Storage) -> Vec<Content> {
    let content = |(name, stored): (StreamName, Stored)| {
        let mut writers = store.writers(stored.record.id).unwrap();
        writers.sort_by(|one, other| one.0.cmp(&other.0));
        Content {
            key: name.key().to_owned(),
            name: name.as_str().to_owned(),
            bytes: store
                .read(stored.record.id, stored.record.first()..stored.tail)
                .unwrap(),
            tail: stored.tail,
            record: stored.record,
            writers,
        }
    };
    let all = store.list("", None, usize::MAX).unwrap();
    all.into_iter().map(content).collect()
}

/// Streams of every kind. The random ones have lower ids.
fn fill(store: &dyn Storage, seed: u64) -> u64 {
    let (mut driver, mut model) = (Driver::new(seed), Model::default());
    store.reserve_ids(20_000, 0).unwrap();
    for _ in 0..100 {
        store.commit_changes(&driver.batch(&mut model, 90_000)).unwrap();
    }
    let source = StreamRecord {
        forks: 1,
        soft_deleted: true,
        closed: true,
        lifetime: Lifetime::Ttl(60),
        due_at: Some(7_000),
        framing: Framing::NEW.covering(1 << 30),
        ..record(10_001)
    };
    let fork = StreamRecord {
        start: 3_000_000,
        fork: Some(Box::new(Fork {
            source: StreamName::new("gid://app/Room/1").unwrap(),
            source_id: 10_001,
            offset: 2_999_990,
            sub_offset: 1,
            lineage: vec![Inherited {
                id: 10_001,
                end: 3_000_000,
            }],
        })),
        lives: vec![Life {
            incarnation: 10_001,
            end: 3_000_000,
        }],
        renewed: Some(10_999),
        ..record(10_002)
    };
    let trimmed = StreamRecord {
        retention: Some(Box::new(Retention {
            earliest: 5_100,
            given_up: 5_000,
            marks: vec![Mark { at: 9, position: 6_000 }],
            ..Retention::default()
        })),
        ..record(10_003)
    };
    let large: Vec<u8> = (0..3_000_000u32).map(|k| (k % 251) as u8).collect();
    let own = StreamName::internal("subscriptions/s").unwrap();
    store
        .commit_changes(&[
            put("gid://app/Room/1", source),
            append(10_001, 0, &large),
            put("fork//spelled///so", fork),
            append(10_002, 3_000_000, "of its own"),
            put("trimmed", record(10_003)),
            append(10_003, 0, &large[..7_000]),
            put("trimmed", trimmed),
            Change::Put {
                name: own,
                record: record(10_004),
            },
            append(10_004, 0, "an event"),
            put("empty", record(10_005)),
        ])
        .unwrap();
    store.reserve_ids(1, 0).unwrap()
}

fn named(database: &Database<'_>) -> Named {
    Named::named("storage.url", &database.url()).unwrap()
}

fn never_cancel(_: &StoreReport) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// As if the servers had been stopped a minute ago.
fn servers_are_silent(database: &Database<'_>) {
    database.sql("update durable_streams.servers set seen = seen - interval '1 minute'");
}

/// A directory with streams of every kind.
fn directory(seed: u64) -> tempfile::TempDir {
    let dir = scratch();
    fill(&AcidStorage::open(dir.path(), 1 << 20).unwrap(), seed);
    dir
}

#[test]
fn a_round_trip_keeps_every_record_and_byte() {
    for seed in 1..=3 {
        let (dir, database) = (scratch(), Postgres::shared().database());
        let (acid, file) = (dir.path().join("acid"), dir.path().join("file"));
        let store = AcidStorage::open(&acid, 1 << 20).unwrap();
        let (used, before) = (fill(&store, seed), contents(&store));
        drop(store);
        let lock = DirLock::acquire(&acid).unwrap();
        let there = migrate_to_database(&lock, &named(&database), &mut never_cancel).unwrap();
        assert_eq!(named(&database).check().unwrap(), there);

        let store = open(&database);
        assert_eq!(contents(&store), before, "seed {seed}");
        let due = |store: &dyn Storage| store.due(u64::MAX, usize::MAX).unwrap();
        let usage = Usage {
            streams: there.streams,
            bytes: there.bytes,
        };
        assert_eq!(store.usage(), usage);
        let due_before = due(&store);
        assert!(store.reserve_ids(1, 0).unwrap() > used);
        drop(store);
        servers_are_silent(&database);

        let back = migrate_from_database(&named(&database), &file, Layout::DataFiles, &mut never_cancel).unwrap();
        assert_eq!(back, there);
        let store = FileStorage::open(&file, true, 4).unwrap();
        assert_eq!(contents(&store), before, "seed {seed}");
        assert_eq!((due(&store), store.usage()), (due_before, usage));
        assert!(store.reserve_ids(1, 0).unwrap() > used);
    }
}

#[test]
fn a_copy_is_made_to_an_empty_database() {
    let (dir, database) = (directory(4), Postgres::shared().database());
    let lock = DirLock::acquire(dir.path()).unwrap();
    let copied = migrate_to_database(&lock, &named(&database), &mut never_cancel).unwrap();
    let refused = migrate_to_database(&lock, &named(&database), &mut never_cancel).unwrap_err();
    let part = format!("the database has {} streams", copied.streams);
    assert!(refused.to_string().contains(&part), "{refused}");
    assert_eq!(named(&database).check().unwrap(), copied);

    // Rows of deleted streams do not count, and do not come back.
    database.sql("delete from durable_streams.heads; delete from durable_streams.streams");
    database.sql("insert into durable_streams.garbage select distinct id, 1 << 40 from durable_streams.chunks");
    migrate_to_database(&lock, &named(&database), &mut never_cancel).unwrap();
    assert_eq!(named(&database).check().unwrap(), copied);
}

#[test]
fn nothing_is_left_of_a_copy_that_fails() {
    let (dir, database) = (directory(5), Postgres::shared().database());
    let lock = DirLock::acquire(dir.path()).unwrap();
    let mut cancel = |report: &StoreReport| match report.streams {
        ..12 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    };
    let cancelled = migrate_to_database(&lock, &named(&database), &mut cancel);
    assert!(matches!(cancelled, Err(StorageError::Cancelled)), "{cancelled:?}");
    assert_eq!(named(&database).check().unwrap(), StoreReport::default());
    migrate_to_database(&lock, &named(&database), &mut never_cancel).unwrap();

    let to = dir.path().join("file");
    let cancelled = migrate_from_database(&named(&database), &to, Layout::DataFiles, &mut cancel);
    assert!(matches!(cancelled, Err(StorageError::Cancelled)), "{cancelled:?}");
    assert!(!to.exists() && !dir.path().join("file.partial").exists());
}

#[test]
fn a_damaged_database_is_not_copied() {
    let (dir, database) = (directory(6), Postgres::shared().database());
    let lock = DirLock::acquire(dir.path()).unwrap();
    migrate_to_database(&lock, &named(&database), &mut never_cancel).unwrap();
    let to = dir.path().join("file");
    let copy = || migrate_from_database(&named(&database), &to, Layout::Index, &mut never_cancel);
    database.sql("delete from durable_streams.chunks where id = 10001 and start = 65536 * 3");
    let error = copy().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`gid://app/Room/1` ends at 196608, not at 3000000"),
        "{error}"
    );
    assert!(!to.exists());
}

#[test]
fn a_database_in_use_is_not_copied() {
    let (dir, database) = (directory(7), Postgres::shared().database());
    let lock = DirLock::acquire(dir.path()).unwrap();
    drop(open(&database));
    let (stop, stopped) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let database = &database;
        scope.spawn(move || {
            while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                database.sql("update durable_streams.servers set seen = clock_timestamp()");
            }
        });
        let to = migrate_to_database(&lock, &named(database), &mut never_cancel).unwrap_err();
        let target = dir.path().join("file");
        let from = migrate_from_database(&named(database), &target, Layout::Index, &mut never_cancel).unwrap_err();
        for refused in [to, from] {
            assert!(refused.to_string().contains("on the host \"test\""), "{refused}");
        }
        drop(stop);
    });
    servers_are_silent(&database);
    migrate_to_database(&lock, &named(&database), &mut never_cancel).unwrap();
}

#[test]
fn a_server_that_starts_during_a_copy_waits_for_it() {
    use crate::storage::tools::transfer::Sink;
    let database = Postgres::shared().database();
    let mut import = named(&database).import().unwrap();
    let written = put("s", record(1));
    import.write(vec![written, append(1, 0, "copied")]).unwrap();
    let (opened, is_open) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| opened.send(open(&database)).unwrap());
        while database.sql("select count(*) from pg_locks where not granted") == "0" {
            assert!(is_open.try_recv().is_err(), "the server serves a part of the copy");
        }
        import.finish(100).unwrap();
        let store = is_open.recv().unwrap();
        assert_eq!(&store.read(1, 0..10).unwrap()[..], b"copied");
        create(&store, "t", store.reserve_ids(1, 0).unwrap());
    });
}
