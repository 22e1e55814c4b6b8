//! The pause of writes while the directory changes its holder.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use super::super::{
    Server, Setup, amount,
    support::{
        http::{Connection, Request},
        server::BASE,
    },
};

const CREATORS: u64 = 16;

/// Writes before and after each handover.
const PAUSE: Duration = Duration::from_millis(300);

/// `DS_TEST_HANDOVERS` in a row with `DS_TEST_STREAMS` streams. The longest time between the
/// acknowledgements of two appends, which includes the append, is at most `DS_TEST_MAX_PAUSE_MS`.
fn writes_pause_for_a_moment(mode: &str) {
    let setup = Setup::new().on_disk(mode);
    let mut current = setup.start();
    create(&current, amount("DS_TEST_STREAMS", 100));
    let mut pauses = Vec::new();
    for _ in 0..amount("DS_TEST_HANDOVERS", 2) {
        let next = setup.launch();
        next.log.wait_for("registered with the holder");
        let writer = Writer::start(&current);
        sleep(PAUSE);
        next.head("s0").send().expect(200);
        sleep(PAUSE);
        pauses.push(writer.longest_pause());
        current.stop();
        current = next;
    }
    println!("{mode}: writes paused for at most {pauses:?}");
    let longest = pauses.iter().max().copied().unwrap_or_default();
    assert!(longest < Duration::from_millis(amount("DS_TEST_MAX_PAUSE_MS", 10_000)));
}

fn create(server: &Server, streams: u64) {
    thread::scope(|scope| {
        for creator in 0..CREATORS {
            scope.spawn(move || {
                let mut connection = Connection::open(server.public);
                for number in (creator..streams).step_by(usize::try_from(CREATORS).unwrap()) {
                    let put = server.put(&format!("s{number}")).text("x");
                    put.send_on(&mut connection).unwrap().expect(201);
                }
            });
        }
    });
}

/// Appends to one stream as fast as it is answered.
struct Writer {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Writer {
    fn start(server: &Server) -> Self {
        let (to, is_over) = (server.public, Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let append = Request::new(to, "POST", &format!("{BASE}/s0")).text("y");
            let (mut connection, mut longest) = (Connection::open(to), Duration::ZERO);
            let mut last = Instant::now();
            while !over.load(Ordering::Acquire) {
                let answer = append.send_on(&mut connection).unwrap().expect(204);
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if answer.header("connection") == Some("close") {
                    connection = Connection::open(to);
                }
            }
            longest
        });
        Self { is_over, thread }
    }

    fn longest_pause(self) -> Duration {
        self.is_over.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

#[test]
fn writes_pause_for_a_moment_on_acid() {
    writes_pause_for_a_moment("acid");
}

#[test]
fn writes_pause_for_a_moment_on_file_durable() {
    writes_pause_for_a_moment("file-durable");
}

#[test]
fn writes_pause_for_a_moment_on_file_fast() {
    writes_pause_for_a_moment("file-fast");
}
