//! A TCP relay between a server and PostgreSQL that loses answers, holds everything back, cuts
//! connections, or stops at a chosen request.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

/// What the relay does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    Open,
    /// Requests arrive, their answers do not. Whoever lost one is cut off when the mode ends.
    LoseAnswers,
    /// Nothing passes in either direction. It goes on from there afterwards.
    Hold,
}

pub struct Relay {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    upstream: Mutex<SocketAddr>,
    mode: AtomicU8,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    trap: Mutex<Option<Trap>>,
    ended: AtomicBool,
    lost: AtomicU64,
}

/// Stops at the first request that contains `pattern`.
struct Trap {
    pattern: Vec<u8>,
    sprung: SyncSender<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Answer,
}

impl Relay {
    pub fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = Arc::new(State {
            upstream: Mutex::new(upstream),
            mode: AtomicU8::new(Mode::Open as u8),
            open: Mutex::default(),
            trap: Mutex::default(),
            ended: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        });
        let relay = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::clone(&state),
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if state.ended.load(Ordering::Acquire) {
                    break;
                }
                let state = Arc::clone(&state);
                thread::spawn(move || connect(&state, client));
            }
        });
        relay
    }

    pub fn set(&self, mode: Mode) {
        self.state.mode.store(mode as u8, Ordering::Release);
    }

    /// Connections that come from now on go there.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *self.state.upstream.lock().unwrap() = upstream;
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for (client, server) in self.state.open.lock().unwrap().drain(..) {
            let _ = client.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Both);
        }
    }

    /// Holds the first request that contains `pattern`, and everything after it on its connection,
    /// for ever. The receiver hears of it.
    pub fn trap(&self, pattern: &str) -> Receiver<()> {
        let (sprung, heard) = sync_channel(1);
        *self.state.trap.lock().unwrap() = Some(Trap {
            pattern: pattern.as_bytes().to_vec(),
            sprung,
        });
        heard
    }

    /// Answers that were lost.
    pub fn lost(&self) -> u64 {
        self.state.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        self.cut();
    }
}

fn connect(state: &Arc<State>, client: TcpStream) {
    let upstream = *state.upstream.lock().unwrap();
    let Ok(server) = TcpStream::connect(upstream) else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let pair = || Some((client.try_clone().ok()?, server.try_clone().ok()?));
    let (Some(kept), Some(requests), Some(answers)) = (pair(), pair(), pair()) else {
        return;
    };
    state.open.lock().unwrap().push(kept);
    let other = Arc::clone(state);
    thread::spawn(move || pass(&other, requests.0, requests.1, Direction::Request));
    pass(state, answers.1, answers.0, Direction::Answer);
}

/// Passes bytes on until either side ends.
fn pass(state: &State, mut from: TcpStream, mut to: TcpStream, direction: Direction) {
    let (mut buffer, mut lost) = (vec![0; 64 * 1024], false);
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..read];
        while state.is(Mode::Hold) {
            thread::sleep(Duration::from_millis(1));
        }
        if direction == Direction::Request && state.springs(bytes) {
            return;
        }
        if direction == Direction::Answer && state.is(Mode::LoseAnswers) {
            state.lost.fetch_add(1, Ordering::Relaxed);
            lost = true;
            while state.is(Mode::LoseAnswers) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        if lost || to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

impl State {
    fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::Acquire) == mode as u8
    }

    fn springs(&self, bytes: &[u8]) -> bool {
        let mut trap = self.trap.lock().unwrap();
        let found = trap.as_ref().is_some_and(|trap| {
            let pattern = &trap.pattern;
            bytes.windows(pattern.len()).any(|window| window == pattern)
        });
        if found && let Some(trap) = trap.take() {
            let _ = trap.sprung.send(());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An upstream that answers what it got.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(read @ 1..) = stream.read(&mut buffer) {
                        stream.write_all(&buffer[..read]).unwrap();
                    }
                });
            }
        });
        address
    }

    fn ask(stream: &mut TcpStream, text: &str) -> Option<String> {
        stream.write_all(text.as_bytes()).ok()?;
        let mut buffer = [0; 64];
        match stream.read(&mut buffer) {
            Ok(read @ 1..) => Some(String::from_utf8_lossy(&buffer[..read]).into_owned()),
            _ => None,
        }
    }

    #[test]
    fn it_passes_loses_holds_cuts_and_stops() {
        let relay = Relay::to(echo());
        let connect = || TcpStream::connect(relay.address).unwrap();
        let mut stream = connect();
        assert_eq!(ask(&mut stream, "a").as_deref(), Some("a"));
        relay.set(Mode::Hold);
        thread::scope(|scope| {
            let held = scope.spawn(|| ask(&mut stream, "b"));
            thread::sleep(Duration::from_millis(50));
            assert!(!held.is_finished());
            relay.set(Mode::Open);
            assert_eq!(held.join().unwrap().as_deref(), Some("b"));
        });
        relay.set(Mode::LoseAnswers);
        thread::scope(|scope| {
            let lost = scope.spawn(|| ask(&mut stream, "c"));
            while relay.lost() == 0 {
                thread::sleep(Duration::from_millis(1));
            }
            relay.set(Mode::Open);
            assert_eq!(lost.join().unwrap(), None);
        });
        let mut stream = connect();
        assert_eq!(ask(&mut stream, "d").as_deref(), Some("d"));
        relay.cut();
        assert_eq!(ask(&mut stream, "e"), None);
        let (mut stream, heard) = (connect(), relay.trap("needle"));
        assert_eq!(ask(&mut stream, "hay").as_deref(), Some("hay"));
        stream.write_all(b"a needle").unwrap();
        heard.recv_timeout(Duration::from_secs(10)).unwrap();
        relay.cut();
        assert_eq!(ask(&mut stream, "f"), None);
    }
}
