//! A webhook receiver, which behaves as it is told.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use serde_json::{Value, json};

use super::{server::Server, until};

/// What a receiver does with a delivery.
#[derive(Clone)]
pub enum Conduct {
    /// Answers that it is done.
    Done,
    /// Answers 202, and nothing more.
    Accept,
    /// Answers this status.
    Status(u16),
    /// Answers 307 to this URL.
    Redirect(String),
    /// Never answers.
    Hang,
    /// Sends these bytes and closes the connection.
    Say(&'static str),
}

/// A delivery as it arrived.
#[derive(Clone)]
pub struct Delivery {
    pub at: Instant,
    pub head: String,
    pub body: String,
}

impl Delivery {
    /// `None`: the connection ended before.
    pub fn read(mut stream: impl BufRead) -> Option<Self> {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        Some(Self {
            at: Instant::now(),
            head,
            body: String::from_utf8(body).unwrap(),
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn generation(&self) -> u64 {
        self.json()["generation"].as_u64().unwrap()
    }
}

/// A receiver on 127.0.0.1, or on another address of loopback.
pub struct Receiver {
    pub address: SocketAddr,
    conduct: Arc<Mutex<Conduct>>,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Receiver {
    pub fn start(conduct: Conduct) -> Self {
        Self::at("127.0.0.1", conduct)
    }

    pub fn at(address: &str, conduct: Conduct) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            conduct: Arc::new(Mutex::new(conduct)),
            deliveries: Arc::default(),
        };
        let (conduct, deliveries) = (Arc::clone(&receiver.conduct), Arc::clone(&receiver.deliveries));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (conduct, deliveries) = (Arc::clone(&conduct), Arc::clone(&deliveries));
                thread::spawn(move || serve(stream, &conduct, &deliveries));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn behaves(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap() = conduct;
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    /// Waits for this many deliveries in all, and returns the last of them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Delivery {
        until(&format!("delivery {count}"), || self.deliveries().len() >= count);
        self.deliveries()[count - 1].clone()
    }

    /// Creates a webhook subscription to this receiver.
    #[track_caller]
    pub fn subscribe(&self, server: &Server, id: &str, pattern: &str) {
        let definition = json!({ "type": "webhook", "pattern": pattern, "webhook": { "url": self.url() } });
        let request = server.put(&format!("__ds/subscriptions/{id}"));
        request.json(&definition.to_string()).send().expect(201);
    }
}

fn serve(mut stream: TcpStream, conduct: &Mutex<Conduct>, deliveries: &Mutex<Vec<Delivery>>) {
    let Some(delivery) = Delivery::read(BufReader::new(&stream)) else {
        return;
    };
    let conduct = conduct.lock().unwrap().clone();
    deliveries.lock().unwrap().push(delivery);
    let respond = |status: u16, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status} Told\r\n{more}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let bytes = match conduct {
        Conduct::Done => respond(200, "content-type: application/json\r\n", r#"{"done":true}"#),
        Conduct::Accept => respond(202, "", ""),
        Conduct::Status(status) => respond(status, "", r#"{"done":true}"#),
        Conduct::Redirect(to) => respond(307, &format!("location: {to}\r\n"), ""),
        Conduct::Say(bytes) => bytes.to_owned(),
        Conduct::Hang => {
            // Until the other side closes.
            let _ = stream.read(&mut [0]);
            return;
        }
    };
    let _ = stream.write_all(bytes.as_bytes());
}
