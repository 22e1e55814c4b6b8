//! Short-lived streams leave no memory, disk space or descriptors in use.

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
    support::{TIMEOUT, http::Connection},
};

const CLIENTS: usize = 6;

/// Warm-up rounds: allocator, caches and files reach their full size.
const WARM_UP: u64 = 3;

/// Streams per round; `DS_TEST_CHURN_STREAMS` overrides it.
const STREAMS: u64 = 150;

/// The resource usage of an idle server.
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

    /// True if usage has not grown, except for the allocator's pages, closing connections, free
    /// space in the index, and the journal, which keeps its peak size of up to 4 MiB.
    fn matches_baseline(&self, first: &Self) -> bool {
        self.is_idle()
            && self.descriptors <= first.descriptors + 2
            && self.memory_kib <= first.memory_kib + first.memory_kib / 2 + 8 * 1024
            && self.disk_kib <= first.disk_kib + first.disk_kib / 4 + 5 * 1024
    }
}

/// Disk usage of a directory, in blocks of 512 bytes. Files may disappear meanwhile.
fn blocks(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => blocks(&entry.path()),
        Ok(data) => data.blocks(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// The life of one stream, which is deleted or expires.
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

/// Reads by SSE from the start, and by long-poll at the tail.
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

/// Waits until usage is back to the baseline; returns what remains.
fn wait_for_baseline(server: &Server, data_dir: &Path, gone: impl Fn(&Usage) -> bool) -> Usage {
    let start = Instant::now();
    loop {
        let usage = Usage::of(server, data_dir);
        if gone(&usage) || start.elapsed() > TIMEOUT {
            return usage;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs rounds for the given time, each compared with the usage after the warm-up.
fn returns_to_baseline(mode: &str) {
    let streams = usize::try_from(amount("DS_TEST_CHURN_STREAMS", STREAMS)).unwrap();
    let time = Duration::from_secs(amount("DS_TEST_CHURN_SECONDS", 0));
    // The cache keeps content, also of deleted streams, until it is full.
    let setup = Setup::new().on_disk(mode).with("storage.cache_bytes", 1 << 20);
    let (server, data_dir) = (setup.start(), setup.data_dir());
    let begun = Instant::now();
    (0..WARM_UP).for_each(|number| round(&server, number, streams));
    let first = wait_for_baseline(&server, &data_dir, Usage::is_idle);
    println!("{mode}: {WARM_UP} rounds of {streams} streams leave {first:?}");
    for number in WARM_UP.. {
        if number >= 2 * WARM_UP && begun.elapsed() >= time {
            break;
        }
        round(&server, number, streams);
        let last = wait_for_baseline(&server, &data_dir, |usage| usage.matches_baseline(&first));
        println!("{mode}: round {number}, {} s: {last:?}", begun.elapsed().as_secs());
        assert!(
            last.matches_baseline(&first),
            "{mode}: round {number} leaves {last:?}, the warm-up left {first:?}"
        );
    }
}

#[test]
fn persistent_modes_free_deleted_streams() {
    PERSISTENT.into_iter().for_each(returns_to_baseline);
}

#[test]
fn memory_mode_frees_deleted_streams() {
    returns_to_baseline("memory");
}
