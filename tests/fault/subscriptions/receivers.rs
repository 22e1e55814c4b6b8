//! Receivers of webhooks: they fail at times, and otherwise finish at once or by a callback.

use std::{
    io::{BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use super::{
    super::support::{rng::TestRng, webhooks::Delivery},
    world::{Work, World},
};

pub fn receive(world: &Arc<World>, listener: &TcpListener, consumer: usize, seed: u64) {
    let mut rng = TestRng::new(seed);
    listener.set_nonblocking(true).unwrap();
    while !world.is_over() {
        let Ok((stream, _)) = listener.accept() else {
            sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        let (world, mut rng) = (Arc::clone(world), TestRng::new(rng.below(u64::MAX)));
        std::thread::spawn(move || answer(&world, stream, consumer, &mut rng));
    }
}

fn answer(world: &World, stream: TcpStream, consumer: usize, rng: &mut TestRng) {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut stream = BufReader::new(stream);
    let Some(delivery) = Delivery::read(&mut stream) else {
        return;
    };
    let wake = delivery.json();
    world.note_generation(consumer, &wake);
    let mut respond = |status: u16, body: &str| {
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.get_mut().write_all(format!("{head}{body}").as_bytes());
    };
    match rng.below(10) {
        0 => return respond(500, ""),
        // Neither answered nor worked on.
        1 => return,
        2 => sleep(Duration::from_millis(1100)),
        _ => {}
    }
    let streams = wake["streams"].as_array().unwrap();
    let acks = world.read_all(consumer, &wake);
    if acks.len() < streams.len() {
        return respond(503, "");
    }
    if consumer == 0 {
        let tails: Vec<_> = streams.iter().map(tail).collect();
        // Whether the server gets the response, and in time, only it knows.
        world.note(consumer, &tails, false);
        return respond(200, "{\"done\":true}");
    }
    respond(202, "");
    if rng.one_in(10) {
        sleep(Duration::from_millis(1100));
    }
    let work = Work {
        consumer,
        wake: &wake,
        token: wake["callback_token"].as_str().unwrap(),
        acks: &acks,
    };
    if rng.one_in(3) && !world.acknowledge("callback", &work, false) {
        return;
    }
    world.acknowledge("callback", &work, true);
}

fn tail(stream: &Value) -> (String, String) {
    let text = |member: &str| stream[member].as_str().unwrap().to_owned();
    (text("path"), text("tail_offset"))
}
