use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::TIMEOUT;

/// The output of a server or another process so far.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn of(from: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let lines = log.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.0.lock().unwrap().push(text);
                line.clear();
            }
        });
        log
    }

    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }

    pub fn find(&self, text: &str) -> Option<String> {
        self.0.lock().unwrap().iter().find(|line| line.contains(text)).cloned()
    }

    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(line) = self.find(text) {
                return line;
            }
            assert!(start.elapsed() < TIMEOUT, "no {text:?} in the log:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The address of a listener.
    #[track_caller]
    pub fn address(&self, listener: &str) -> SocketAddr {
        let start = Instant::now();
        loop {
            let lines = self.0.lock().unwrap().clone();
            let found = lines
                .iter()
                .filter(|line| line.contains("listening") && line.contains(listener))
                .find_map(|line| {
                    let (_, behind) = line.split_once("address")?;
                    let address = behind.trim_start_matches(['=', '"', ':']);
                    address.split(['"', ' ']).next()?.parse().ok()
                });
            if let Some(address) = found {
                return address;
            }
            assert!(start.elapsed() < TIMEOUT, "does not listen:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
