//! The cost of commits and reads of each store, without the engine.
//!
//! `cargo bench --bench storage [-- DIRECTORY]`. The directory selects the disk to measure.
//! Times are wall and CPU (of the whole process, so background work counts) for each append.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

use std::{path::PathBuf, time::Instant};

use bytes::Bytes;
use durable_streams_server::{
    AcidStorage, Change, FileStorage, Framing, Group, InMemoryStorage, Lifetime, Storage, StreamName, StreamRecord,
};

const STREAMS: u64 = 64;
const APPENDS_A_BATCH: u64 = 32;
const STREAMS_A_BATCH: u64 = 25;

fn main() {
    let dir = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .map_or_else(|| std::env::temp_dir().join("durable-streams-bench"), PathBuf::from);
    let _ = std::fs::remove_dir_all(&dir);
    println!("32 appends of 256 B over 25 streams a batch, for each append:");
    run("memory", &InMemoryStorage::new(0), 40_000);
    run("acid", &AcidStorage::open(&dir.join("acid"), 64 << 20).unwrap(), 4_000);
    run(
        "file-durable",
        &FileStorage::open(&dir.join("durable"), true, 512).unwrap(),
        4_000,
    );
    run(
        "file-fast",
        &FileStorage::open(&dir.join("fast"), false, 512).unwrap(),
        4_000,
    );
    println!("\nthe same 32 appends over several acid stores, each with its own journal and its share:");
    for shards in [1, 2, 4] {
        run_sharded(&dir.join(format!("shards-{shards}")), shards, 2_000);
    }
    println!("\nopening 100,000 streams:");
    open_many("acid", |name| {
        Box::new(AcidStorage::open(&dir.join(name), 64 << 20).unwrap())
    });
    let _ = std::fs::remove_dir_all(&dir);
}

fn record(id: u64) -> StreamRecord {
    StreamRecord {
        id,
        start: 0,
        content_type: "application/json".to_owned(),
        created_at: 1_700_000_000_000,
        lifetime: Lifetime::Unlimited,
        touched_at: 1_700_000_000_000,
        due_at: None,
        closed: false,
        closed_by: None,
        stream_seq: None,
        fork: None,
        forks: 0,
        soft_deleted: false,
        lives: vec![],
        renewed: None,
        framing: Framing::NONE,
        retention: None,
    }
}

fn put(id: u64) -> Change {
    Change::Put {
        name: StreamName::new(&format!("gid://app/Room/{id}/messages")).unwrap(),
        record: record(id),
    }
}

fn commit(store: &dyn Storage, changes: Vec<Change>) {
    store.commit(&[Group::from(changes)]).unwrap();
}

fn run(label: &str, store: &dyn Storage, batches: u64) {
    let payload = Bytes::from(vec![b'x'; 256]);
    let mut tails = vec![0u64; 1 + usize::try_from(STREAMS).unwrap()];
    commit(store, (1..=STREAMS).map(put).collect());
    let mut turn = 0u64;
    let mut batch = || -> Vec<Change> {
        (0..APPENDS_A_BATCH)
            .map(|n| {
                turn += u64::from(n < STREAMS_A_BATCH);
                let id = 1 + (turn * 7) % STREAMS;
                let tail = tails.get_mut(usize::try_from(id).unwrap()).unwrap();
                let at = *tail;
                *tail += payload.len() as u64;
                Change::Append {
                    id,
                    at,
                    data: vec![payload.clone()],
                }
            })
            .collect()
    };
    for _ in 0..batches / 10 {
        commit(store, batch());
    }
    let prepared: Vec<Group> = (0..batches).map(|_| Group::from(batch())).collect();
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    for batch in &prepared {
        store.commit(std::slice::from_ref(batch)).unwrap();
    }
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    let appends = (batches * APPENDS_A_BATCH) as f64;
    print!(
        "  {label:<14} commit {:6.2} us cpu {:7.2} us wall",
        cpu / appends * 1e6,
        wall / appends * 1e6
    );
    for size in [1u64 << 10, 1 << 20] {
        let rounds = if size > 10_000 { 500 } else { 50_000 };
        let tail = tails.iter().copied().max().unwrap();
        let (cpu, mut read) = (cpu_seconds(), 0);
        for n in 0..rounds {
            let from = (n * 7_919 * 256) % tail.saturating_sub(4 * size).max(1);
            let id = 1 + n % STREAMS;
            read += store.read(id, from..from + size).unwrap().len();
        }
        let each = (cpu_seconds() - cpu) / rounds as f64 * 1e6;
        print!(
            "; read {:4} KiB {each:7.2} us cpu ({} KiB)",
            size >> 10,
            (read as u64 / rounds) >> 10
        );
    }
    println!();
}

/// The gain and the cost of concurrent syncs, as shards would have them.
fn run_sharded(dir: &std::path::Path, shards: u64, batches: u64) {
    let stores: Vec<AcidStorage> = (0..shards)
        .map(|shard| AcidStorage::open(&dir.join(shard.to_string()), 64 << 20).unwrap())
        .collect();
    let (share, streams) = (APPENDS_A_BATCH / shards, STREAMS / shards);
    let payload = Bytes::from(vec![b'x'; 256]);
    for store in &stores {
        commit(store, (1..=streams).map(put).collect());
    }
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    // A thread's CPU time is only visible while it lives, so all wait for the slowest.
    let done = std::sync::Barrier::new(stores.len() + 1);
    let cpu_used = std::thread::scope(|scope| {
        for store in &stores {
            let (payload, done) = (&payload, &done);
            scope.spawn(move || {
                for batch in 0..batches {
                    let changes: Vec<Change> = (0..share)
                        .map(|n| {
                            let turn = batch * share + n;
                            Change::Append {
                                id: 1 + turn % streams,
                                at: turn / streams * payload.len() as u64,
                                data: vec![payload.clone()],
                            }
                        })
                        .collect();
                    commit(store, changes);
                }
                done.wait();
                done.wait();
            });
        }
        done.wait();
        let used = cpu_seconds() - cpu;
        done.wait();
        used
    });
    let (wall, appends) = (wall.elapsed().as_secs_f64(), (batches * APPENDS_A_BATCH) as f64);
    println!(
        "  {shards} shards       commit {:6.2} us cpu {:7.2} us wall",
        cpu_used / appends * 1e6,
        wall / appends * 1e6
    );
}

fn open_many(label: &str, open: impl Fn(&str) -> Box<dyn Storage>) {
    let store = open("many");
    for chunk in (1..=100_000u64).collect::<Vec<_>>().chunks(1000) {
        let batch: Vec<Change> = chunk
            .iter()
            .flat_map(|id| {
                let append = Change::Append {
                    id: *id,
                    at: 0,
                    data: vec![Bytes::from_static(&[b'x'; 300])],
                };
                [put(*id), append]
            })
            .collect();
        commit(&*store, batch);
    }
    drop(store);
    let started = Instant::now();
    let store = open("many");
    let opened = started.elapsed();
    let started = Instant::now();
    let found = store
        .get(&StreamName::new("gid://app/Room/77777/messages").unwrap())
        .unwrap();
    println!(
        "  {label:<14} {:.1} ms, a first look at a stream {:.1} ms ({})",
        opened.as_secs_f64() * 1e3,
        started.elapsed().as_secs_f64() * 1e3,
        found.is_some()
    );
    // The journal is not empty, as after a SIGKILL.
    let batch: Vec<Change> = (100_001..103_000u64).map(put).collect();
    commit(&*store, batch);
    std::mem::forget(store);
    let started = Instant::now();
    std::mem::drop(open("many"));
    println!(
        "  {label:<14} {:.1} ms when it was not closed",
        started.elapsed().as_secs_f64() * 1e3
    );
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    // Per-thread files have nanoseconds; the ticks of `stat` are too coarse.
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let sum: f64 = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .sum();
    if sum > 0.0 {
        sum / 1e9
    } else {
        stat.split(' ')
            .next()
            .and_then(|ns| ns.parse::<f64>().ok())
            .unwrap_or(0.0)
            / 1e9
    }
}
