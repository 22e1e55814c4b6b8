//! Upkeep: the log, merged rows, and their sums.

use super::{shared::*, *};
use crate::storage::contract::{append, name};

fn upkeep(database: &Database<'_>) {
    for _ in 0..1_000 {
        if database.sql("select durable_streams.trim_log_v1() or durable_streams.upkeep_v2()") == "f" {
            return;
        }
    }
    panic!("upkeep never ends");
}

fn count(database: &Database<'_>, table: &str) -> usize {
    database
        .sql(&format!("select count(*) from durable_streams.{table}"))
        .parse()
        .unwrap()
}

#[test]
fn small_rows_are_merged_and_the_log_stays_short() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    let mut all: Vec<u8> = Vec::new();
    for step in 0..1_200usize {
        // A large row in the middle stays as it is.
        let len = if step == 700 { 100_000 } else { 150 + step % 7 };
        let data: Vec<u8> = (0..len).map(|k| (k * 13 + step) as u8).collect();
        let at = all.len() as u64;
        commit(
            &store,
            &[group(vec![rev(1, 1), room(1, 1 << 30)], vec![append(1, at, &data)])],
        );
        all.extend(data);
    }
    let (usage, tail) = (store.usage(), all.len() as u64);
    assert_eq!(count(&database, "chunks"), 1_200);
    database.sql("update durable_streams.log set at = at - interval '5 minutes'");
    upkeep(&database);
    // The newest row of each server stays.
    assert_eq!(count(&database, "log"), 1);
    assert_eq!(open(&database).usage(), usage);
    database.sql("update durable_streams.merges set due = now() - interval '1 second'");
    upkeep(&database);
    let rows = count(&database, "chunks");
    assert!(rows < 400, "{rows}");
    assert_eq!(count(&database, "merges"), 0);
    assert!(store.read(1, 0..tail).unwrap() == all);
    for from in (0..tail).step_by(7_919) {
        let to = (from + 70_000).min(tail);
        assert!(
            store.read(1, from..to).unwrap() == all[from as usize..to as usize],
            "{from}"
        );
    }
    commit(&store, &[group(vec![rev(1, 1)], vec![append(1, tail, "end")])]);
    assert_eq!(&store.read(1, tail..tail + 9).unwrap()[..], b"end");
}

/// A database with the rows of one stream, of 100 bytes each.
fn with_rows(rows: usize) -> Database<'static> {
    let database = Postgres::shared().database();
    drop(open(&database));
    database.sql(&format!(
        "insert into durable_streams.chunks \
         select 1, n * 100, n * 100 + 100, decode(repeat('ab', 100), 'hex') from generate_series(0, {rows} - 1) n; \
         analyze durable_streams.chunks"
    ));
    database
}

/// How many rows of bytes a step of upkeep looks at.
fn visited(database: &Database<'_>) -> usize {
    let visited = database.sql(
        "do $$ begin perform durable_streams.upkeep_v2(); end $$; \
         select idx_tup_fetch from pg_stat_xact_user_tables where relid = 'durable_streams.chunks'::regclass",
    );
    visited.parse().unwrap()
}

/// Otherwise the upkeep of a long stream takes as many steps as looks at each of its rows.
#[test]
fn a_step_of_upkeep_does_not_look_at_the_rest_of_a_stream() {
    let database = with_rows(20_000);
    database.sql("insert into durable_streams.merges values (1, now() - interval '1 second', 50000)");
    let merging = visited(&database);
    assert!((1_000..4_000).contains(&merging), "{merging}");
    database.sql("insert into durable_streams.garbage values (1, 20000)");
    let trimming = visited(&database);
    assert!((200..4_000).contains(&trimming), "{trimming}");
}

/// Many streams may expire at one moment, such as midnight.
#[test]
fn streams_that_are_due_together_are_found_without_looking_at_all() {
    let database = Postgres::shared().database();
    drop(open(&database));
    database.sql(
        "insert into durable_streams.streams (id, key, name, record) select n, n, n, '' from generate_series(1, 5000) n; \
         insert into durable_streams.heads (id, rev, tail, first, due_at) select n, 1, 0, 0, 7 from generate_series(1, 5000) n; \
         analyze",
    );
    let visited = database.sql(
        "do $$ begin if (select count(*) from durable_streams.due_v1(7, 256)) <> 256 then \
           raise exception 'not all are found'; end if; end $$; \
         select sum(idx_tup_fetch) from pg_stat_xact_user_tables where relname in ('streams', 'heads')",
    );
    assert!((256..1_000).contains(&visited.parse::<usize>().unwrap()), "{visited}");
}

/// All servers read the log, and so it must stay short.
#[test]
fn the_log_is_trimmed_however_much_garbage_there_is() {
    let database = with_rows(5_000);
    database.sql(
        "insert into durable_streams.garbage values (1, 9223372036854775807); \
         insert into durable_streams.log select 1, n, now() - interval '2 minutes', '{1}', '{1}', '{1}', 0, 1 \
           from generate_series(1, 10) n; \
         select durable_streams.trim_log_v1()",
    );
    assert_eq!((count(&database, "log"), count(&database, "garbage")), (1, 1));
    // The rows of a server that was forgotten go, too.
    database.sql("delete from durable_streams.servers; select durable_streams.trim_log_v1()");
    assert_eq!(count(&database, "log"), 0);
}

#[test]
fn a_step_of_upkeep_is_bounded_by_rows_and_by_bytes() {
    let database = with_rows(0);
    let (rows, small) = (40, 50);
    database.sql(&format!(
        "insert into durable_streams.chunks \
           select 1, n << 20, (n + 1) << 20, decode(repeat('ab', 1 << 20), 'hex') from generate_series(0, {rows} - 1) n; \
         insert into durable_streams.chunks select n, 0, 1, 'x' from generate_series(2, {small} + 1) n; \
         insert into durable_streams.garbage select n, 9223372036854775807 from generate_series(1, {small} + 1) n"
    ));
    let mut left = vec![count(&database, "chunks")];
    while count(&database, "garbage") > 0 {
        database.sql("select durable_streams.upkeep_v2()");
        left.push(count(&database, "chunks"));
        assert!(left.len() < 10, "{left:?}");
    }
    assert_eq!(left, [90, 74, 58, 0]);
}

#[test]
fn what_another_server_adds_is_counted_without_the_whole_log() {
    let database = Postgres::shared().database();
    let (a, b) = (open(&database), open(&database));
    create(&a, "s", 1);
    for at in 0..20 {
        commit(&a, &[group(vec![rev(1, 1)], vec![append(1, at, "x")])]);
    }
    let counted = || {
        b.block(b.core.count_once()).unwrap().unwrap();
        (b.usage().streams, b.usage().bytes)
    };
    assert_eq!(b.usage().bytes, 0);
    assert_eq!(counted(), (1, 20));
    // A count from the beginning would find less.
    database.sql("update durable_streams.log set bytes = 0");
    commit(&a, &[group(vec![rev(1, 1)], vec![append(1, 20, "y")])]);
    assert_eq!(counted(), (1, 21));
    assert_eq!(counted(), (1, 21));
}

#[test]
fn lookups_do_not_wait_for_upkeep_or_for_bytes() {
    let database = Postgres::shared().database();
    let store = open(&database);
    create(&store, "s", 1);
    let lock_count = |granted| {
        database.sql(&format!(
            "select count(*) from pg_locks where database = (select oid from pg_database where datname = \
             current_database()) and relation in ('durable_streams.chunks'::regclass, \
             'durable_streams.garbage'::regclass) and granted = {granted}"
        ))
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            database.sql("begin; lock table durable_streams.chunks, durable_streams.garbage; select pg_sleep(4)");
        });
        wait_until(Postgres::shared(), "no lock", || lock_count(true) == "2");
        let reads: Vec<_> = (0..2).map(|_| scope.spawn(|| store.read(1, 0..1).unwrap())).collect();
        let upkeep = scope.spawn(|| store.maintain().unwrap());
        wait_until(Postgres::shared(), "nothing waits", || lock_count(false) == "3");
        for _ in 0..6 {
            assert!(store.get(&name("s")).unwrap().is_some());
        }
        assert!(!upkeep.is_finished() && reads.iter().all(|read| !read.is_finished()));
    });
}

/// As after many streams were created at once.
#[test]
fn streams_with_nothing_to_merge_are_passed_over_together() {
    let database = with_rows(0);
    database.sql(
        "insert into durable_streams.chunks select n, 0, 1, 'x' from generate_series(1, 250) n; \
         insert into durable_streams.merges select n, now() - interval '1 second' from generate_series(1, 250) n",
    );
    let mut left = Vec::new();
    while database.sql("select durable_streams.upkeep_v2()") == "t" {
        left.push(count(&database, "merges"));
        assert!(left.len() < 5, "{left:?}");
    }
    assert_eq!(left, [150, 50]);
    assert_eq!((count(&database, "merges"), count(&database, "chunks")), (0, 250));
}

/// Rows that are being merged are deleted and not yet there, and would be left behind.
#[test]
fn garbage_is_not_collected_while_its_rows_are_merged() {
    let database = with_rows(3);
    database.sql(
        "insert into durable_streams.merges values (1, now()); \
         insert into durable_streams.garbage values (1, 9223372036854775807)",
    );
    let locks = || {
        database.sql(
            "select count(*) from pg_locks where relation = 'durable_streams.merges'::regclass \
             and mode = 'RowShareLock'",
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            database.sql("begin; select 1 from durable_streams.merges for update; select pg_sleep(2); commit");
        });
        wait_until(Postgres::shared(), "no lock", || locks() == "1");
        assert_eq!(database.sql("select durable_streams.collect_v1()"), "f");
        assert_eq!((count(&database, "chunks"), count(&database, "garbage")), (3, 1));
    });
    database.sql("select durable_streams.collect_v1()");
    assert_eq!((count(&database, "chunks"), count(&database, "garbage")), (0, 0));
}

/// Otherwise a step over the rows of large commits takes longer than it may, again and again.
#[test]
fn a_step_over_the_log_is_bounded_by_its_changes() {
    let database = with_rows(0);
    database.sql(
        "insert into durable_streams.log select 1, n, now() - interval '2 minutes', ids, ids, ids, 0, 0 \
         from generate_series(1, 40) n, \
           lateral (select array_agg(n * 10000::bigint + i) as ids from generate_series(1, 4096) i) i",
    );
    assert_eq!(database.sql("select durable_streams.trim_log_v1()"), "t");
    assert_eq!((count(&database, "log"), count(&database, "merges")), (24, 65_536));
}

/// A role that may create functions must not be able to have the server's role call them.
#[test]
fn no_function_calls_those_of_other_schemas() {
    let database = Postgres::shared().database();
    drop(open(&database));
    let open_to_others = database.sql(
        "select string_agg(p.proname, ' ') from pg_proc p where p.pronamespace = 'durable_streams'::regnamespace \
         and not coalesce('search_path=pg_catalog, pg_temp' = any(p.proconfig), false)",
    );
    assert_eq!(open_to_others, "");
    let store = open(&database);
    create(&store, "s", 1);
    database.sql(
        "create function public.cardinality(bigint[]) returns int language plpgsql as \
         $$ begin raise exception 'another role ran this'; end $$",
    );
    database.sql("select count(*) from durable_streams.news_v2(0, '{}', '{}')");
}

/// A compilation takes 300 ms, and plans that avoid sequential scans look expensive enough for one.
#[test]
fn no_function_is_compiled_just_in_time() {
    let database = Postgres::shared().database();
    drop(open(&database));
    let compiled = database.sql(
        "select string_agg(p.proname, ' ') from pg_proc p join pg_language l on l.oid = p.prolang \
         where p.pronamespace = 'durable_streams'::regnamespace and l.lanname = 'plpgsql' \
         and not coalesce(p.proconfig @> '{jit=off}', false)",
    );
    assert_eq!(compiled, "");
}
