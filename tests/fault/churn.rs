//! Streams that come and go: nothing of them stays, in memory, on disk, or open.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use super::{
    PERSISTENT, Server, Setup, amount,
    owned::{now_millis, timestamp},
    support::{PATIENCE, http::Connection},
};

const CLIENTS: usize = 6;

/// Rounds before the first look: allocator, caches and files are as large as they get.
const WARM_UP: u64 = 3;

/// Streams in one round, unless `DS_TEST_CHURN_STREAMS` says how many.
const STREAMS: u64 = 150;

/// What a server takes when nobody asks anything of it.
#[derive(Debug, Clone, Copy)]
struct Usage {
    memory_kib: u64,
    descriptors: usize,
    disk_kib: u64,
    streams: f64,
    in_memory: f64,
}

impl Usage {
    fn of(server: &Server, data_dir: &Path) -> Self {
        let process = format!("/proc/{}", server.pid());
        let memory = fs::read_to_string(format!("{process}/smaps_rollup")).unwrap();
        let pss = memory.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        Self {
            memory_kib: pss.trim().trim_end_matches(" kB").parse().unwrap(),
            descriptors: fs::read_dir(format!("{process}/fd")).unwrap().count(),
            disk_kib: blocks(data_dir) / 2,
            streams: server.metric("ds_streams"),
            in_memory: server.metric("ds_streams_in_memory"),
        }
    }

    fn is_idle(&self) -> bool {
        self.streams == 0.0 && self.in_memory == 0.0
    }

    /// Whether it is no more than it was before, but for what varies anyway: the allocator's
    /// pages, connections that are being closed, the index's free space, and the journal, which
    /// stays as large as it ever was: up to the 4 MiB of a checkpoint.
    fn is_like(&self, first: &Self) -> bool {
        self.is_idle()
            && self.descriptors <= first.descriptors + 2
            && self.memory_kib <= first.memory_kib + first.memory_kib / 2 + 8 * 1024
            && self.disk_kib <= first.disk_kib + first.disk_kib / 4 + 5 * 1024
    }
}

/// What a directory takes on disk, in blocks of 512 bytes. Files may go meanwhile.
fn blocks(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => blocks(&entry.path()),
        Ok(data) => data.blocks(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// The life of one stream, which ends by deleting or by itself.
fn live(server: &Server, connection: &mut Connection, name: &str, number: usize) -> io::Result<()> {
    let size = if number.is_multiple_of(25) { 90_000 } else { 300 };
    let message = format!(r#"{{"number":{number},"padding":"{}"}}"#, "x".repeat(size));
    if number.is_multiple_of(4) {
        let soon = timestamp(now_millis() + 500);
        let create = server.put(name).json(&message).header("stream-expires-at", &soon);
        create.send_on(connection)?.expect(201);
        let read = server.get(name).send_on(connection)?;
        assert!(matches!(read.status, 200 | 404), "{}", read.status);
        return Ok(());
    }
    let start = server.put(name).json("").send_on(connection)?.expect(201).next_offset();
    let append = server.post(name).json(&message).producer("p", 0, 0);
    append.send_on(connection)?.expect(200);
    append.send_on(connection)?.expect(204);
    let read = server.get(name).send_on(connection)?.expect(200);
    assert!(read.text() == format!("[{message}]"), "{name} reads differently");
    if number.is_multiple_of(10) {
        read_live(server, connection, name, [&start, &read.next_offset()])?;
    }
    if number.is_multiple_of(5) {
        let fork = format!("{name}/fork");
        server.fork(&fork, name).send_on(connection)?.expect(201);
        server.post(&fork).json("3").send_on(connection)?.expect(204);
        server.delete(name).send_on(connection)?.expect(204);
        server.delete(&fork).send_on(connection)?.expect(204);
        return Ok(());
    }
    if number.is_multiple_of(3) {
        let close = server.post(name).header("stream-closed", "true");
        close.send_on(connection)?.expect(204);
    }
    server.delete(name).send_on(connection)?.expect(204);
    Ok(())
}

/// By SSE from the start, and by long-poll at the tail until something comes.
fn read_live(server: &Server, connection: &mut Connection, name: &str, [start, tail]: [&str; 2]) -> io::Result<()> {
    assert!(
        server.sse(name, start).data().contains("padding"),
        "{name} reads differently live"
    );
    let mut waiting = server.get(&format!("{name}?live=long-poll&offset={tail}")).open();
    server.post(name).json("[1,2]").send_on(connection)?.expect(204);
    assert_eq!(waiting.answer().expect(200).text(), "[1,\n2]");
    Ok(())
}

fn round(server: &Server, round: u64, streams: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open(server.public);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= streams {
                        break;
                    }
                    live(server, &mut connection, &format!("churn/{round}/{number}"), number).unwrap();
                }
            });
        }
    });
}

/// Waits until a round's traces are gone, and says what is left.
fn settle(server: &Server, data_dir: &Path, gone: impl Fn(&Usage) -> bool) -> Usage {
    let start = Instant::now();
    loop {
        let usage = Usage::of(server, data_dir);
        if gone(&usage) || start.elapsed() > PATIENCE {
            return usage;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Rounds until the time is over, each compared with what was left after the warm-up.
fn comes_back(mode: &str) {
    let streams = usize::try_from(amount("DS_TEST_CHURN_STREAMS", STREAMS)).unwrap();
    let time = Duration::from_secs(amount("DS_TEST_CHURN_SECONDS", 0));
    // What was read is kept until the cache is full, of streams that are gone too.
    let setup = Setup::new().on_disk(mode).with("storage.cache_bytes", 1 << 20);
    let (server, data_dir) = (setup.start(), setup.data_dir());
    let begun = Instant::now();
    (0..WARM_UP).for_each(|number| round(&server, number, streams));
    let first = settle(&server, &data_dir, Usage::is_idle);
    println!("{mode}: {WARM_UP} rounds of {streams} streams leave {first:?}");
    for number in WARM_UP.. {
        if number >= 2 * WARM_UP && begun.elapsed() >= time {
            break;
        }
        round(&server, number, streams);
        let last = settle(&server, &data_dir, |usage| usage.is_like(&first));
        println!("{mode}: round {number}, {} s: {last:?}", begun.elapsed().as_secs());
        assert!(
            last.is_like(&first),
            "{mode}: round {number} leaves {last:?}, the warm-up left {first:?}"
        );
    }
}

#[test]
fn persistent_stores_keep_nothing_of_what_is_gone() {
    PERSISTENT.into_iter().for_each(comes_back);
}

#[test]
fn memory_keeps_nothing_of_what_is_gone() {
    comes_back("memory");
}
